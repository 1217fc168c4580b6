An agent takes a quarter less memory: Klein, cookies and others are loaded when they are needed.
