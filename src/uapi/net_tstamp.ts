// Time stamps: linux/net_tstamp.h.

// SO_TIMESTAMPING flags.
export const SOF_TIMESTAMPING_TX_HARDWARE = 0x1;
export const SOF_TIMESTAMPING_TX_SOFTWARE = 0x2;
export const SOF_TIMESTAMPING_RX_HARDWARE = 0x4;
export const SOF_TIMESTAMPING_RX_SOFTWARE = 0x8;
export const SOF_TIMESTAMPING_SOFTWARE = 0x10;
export const SOF_TIMESTAMPING_SYS_HARDWARE = 0x20;
export const SOF_TIMESTAMPING_RAW_HARDWARE = 0x40;
export const SOF_TIMESTAMPING_OPT_ID = 0x80;
export const SOF_TIMESTAMPING_TX_SCHED = 0x100;
export const SOF_TIMESTAMPING_TX_ACK = 0x200;
export const SOF_TIMESTAMPING_OPT_CMSG = 0x400;
export const SOF_TIMESTAMPING_OPT_TSONLY = 0x800;
export const SOF_TIMESTAMPING_OPT_STATS = 0x1000;
export const SOF_TIMESTAMPING_OPT_PKTINFO = 0x2000;
export const SOF_TIMESTAMPING_OPT_TX_SWHW = 0x4000;
export const SOF_TIMESTAMPING_BIND_PHC = 0x8000;
export const SOF_TIMESTAMPING_LAST = 0x8000;
export const SOF_TIMESTAMPING_MASK = 0xffff;
export const SOF_TIMESTAMPING_TX_RECORD_MASK = 0x40303;
export const SOF_TXTIME_DEADLINE_MODE = 0x1;
export const SOF_TXTIME_REPORT_ERRORS = 0x2;
export const SOF_TXTIME_FLAGS_LAST = 0x2;
export const SOF_TXTIME_FLAGS_MASK = 0x3;

// Newer flags.
export const SOF_TIMESTAMPING_OPT_ID_TCP = 0x10000;
export const SOF_TIMESTAMPING_OPT_RX_FILTER = 0x20000;
export const SOF_TIMESTAMPING_TX_COMPLETION = 0x40000;

// struct scm_timestamping: which of the sent packet's moments this is (linux/errqueue.h).
export const SCM_TSTAMP_SND = 0;
export const SCM_TSTAMP_SCHED = 1;
export const SCM_TSTAMP_ACK = 2;
