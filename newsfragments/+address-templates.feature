Address templates (``{{ GetPrivateInterfaces | include "network" "10.0.0.0/8" | attr "address" }}``) are understood in all settings that hold addresses.
