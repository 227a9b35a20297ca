// linux/inet_diag.h: the extensions of what a socket can be asked for.

export const INET_DIAG_VEGASINFO = 3;
export const INET_DIAG_DCTCPINFO = 9;
