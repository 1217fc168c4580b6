Consistent reads ask only as many servers as make a majority, those that answer soonest; the others when that takes longer than 50 ms.
