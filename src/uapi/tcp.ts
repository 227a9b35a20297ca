// TCP: linux/tcp.h, and the numbers of include/net/tcp.h and tcp_states.h that appear outside the kernel.

// Options of SOL_TCP.
export const TCP_NODELAY = 1;
export const TCP_MAXSEG = 2;
export const TCP_CORK = 3;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;
export const TCP_SYNCNT = 7;
export const TCP_LINGER2 = 8;
export const TCP_DEFER_ACCEPT = 9;
export const TCP_WINDOW_CLAMP = 10;
export const TCP_INFO = 11;
export const TCP_QUICKACK = 12;
export const TCP_CONGESTION = 13;
export const TCP_MD5SIG = 14;
export const TCP_THIN_LINEAR_TIMEOUTS = 16;
export const TCP_THIN_DUPACK = 17;
export const TCP_USER_TIMEOUT = 18;
export const TCP_REPAIR = 19;
export const TCP_REPAIR_QUEUE = 20;
export const TCP_QUEUE_SEQ = 21;
export const TCP_REPAIR_OPTIONS = 22;
export const TCP_FASTOPEN = 23;
export const TCP_TIMESTAMP = 24;
export const TCP_NOTSENT_LOWAT = 25;
export const TCP_CC_INFO = 26;
export const TCP_SAVE_SYN = 27;
export const TCP_SAVED_SYN = 28;
export const TCP_REPAIR_WINDOW = 29;
export const TCP_FASTOPEN_CONNECT = 30;
export const TCP_ULP = 31;
export const TCP_MD5SIG_EXT = 32;
export const TCP_FASTOPEN_KEY = 33;
export const TCP_FASTOPEN_NO_COOKIE = 34;
export const TCP_ZEROCOPY_RECEIVE = 35;
export const TCP_INQ = 36;
export const TCP_CM_INQ = 36;
export const TCP_TX_DELAY = 37;

// Newer options.
export const TCP_AO_ADD_KEY = 38;
export const TCP_AO_DEL_KEY = 39;
export const TCP_AO_INFO = 40;
export const TCP_AO_GET_KEYS = 41;
export const TCP_AO_REPAIR = 42;
export const TCP_IS_MPTCP = 43;
export const TCP_RTO_MAX_MS = 44;
export const TCP_RTO_MIN_US = 45;
export const TCP_DELACK_MAX_US = 46;

// Values of TCP_REPAIR and TCP_REPAIR_QUEUE.
export const TCP_REPAIR_ON = 1;
export const TCP_REPAIR_OFF = 0;
export const TCP_REPAIR_OFF_NO_WP = -1;
export const TCP_NO_QUEUE = 0;
export const TCP_RECV_QUEUE = 1;
export const TCP_SEND_QUEUE = 2;
export const TCP_QUEUES_NR = 3;

// Default and desired MSS, and the size of the MD5 and fast open keys.
export const TCP_MSS_DEFAULT = 536;
export const TCP_MSS_DESIRED = 1220;
export const TCP_MD5SIG_MAXKEYLEN = 80;
export const TCP_MD5SIG_FLAG_PREFIX = 1;
export const TCP_MD5SIG_FLAG_IFINDEX = 2;

// Connection states.
export const TCP_ESTABLISHED = 1;
export const TCP_SYN_SENT = 2;
export const TCP_SYN_RECV = 3;
export const TCP_FIN_WAIT1 = 4;
export const TCP_FIN_WAIT2 = 5;
export const TCP_TIME_WAIT = 6;
export const TCP_CLOSE = 7;
export const TCP_CLOSE_WAIT = 8;
export const TCP_LAST_ACK = 9;
export const TCP_LISTEN = 10;
export const TCP_CLOSING = 11;
export const TCP_NEW_SYN_RECV = 12;
export const TCP_BOUND_INACTIVE = 13;
export const TCP_MAX_STATES = 14;
export const TCP_STATE_MASK = 0xf;
export const TCP_ACTION_FIN = 0x80;

// The same as bits, for sets of states.
export const TCPF_ESTABLISHED = 0x2;
export const TCPF_SYN_SENT = 0x4;
export const TCPF_SYN_RECV = 0x8;
export const TCPF_FIN_WAIT1 = 0x10;
export const TCPF_FIN_WAIT2 = 0x20;
export const TCPF_TIME_WAIT = 0x40;
export const TCPF_CLOSE = 0x80;
export const TCPF_CLOSE_WAIT = 0x100;
export const TCPF_LAST_ACK = 0x200;
export const TCPF_LISTEN = 0x400;
export const TCPF_CLOSING = 0x800;
export const TCPF_NEW_SYN_RECV = 0x1000;
export const TCPF_BOUND_INACTIVE = 0x2000;

// Congestion states.
export const TCP_CA_Open = 0;
export const TCP_CA_Disorder = 1;
export const TCP_CA_CWR = 2;
export const TCP_CA_Recovery = 3;
export const TCP_CA_Loss = 4;

// The same as bits.
export const TCPF_CA_Open = 0x1;
export const TCPF_CA_Disorder = 0x2;
export const TCPF_CA_CWR = 0x4;
export const TCPF_CA_Recovery = 0x8;
export const TCPF_CA_Loss = 0x10;

// tcpi_options of struct tcp_info.
export const TCPI_OPT_TIMESTAMPS = 1;
export const TCPI_OPT_SACK = 2;
export const TCPI_OPT_WSCALE = 4;
export const TCPI_OPT_ECN = 8;
export const TCPI_OPT_ECN_SEEN = 16;
export const TCPI_OPT_SYN_DATA = 32;

// Newer ones.
export const TCPI_OPT_USEC_TS = 64;
export const TCPI_OPT_TFO_CHILD = 128;

// tcpi_ecn_mode.
export const TCPI_ECN_MODE_DISABLED = 0;
export const TCPI_ECN_MODE_RFC3168 = 1;
export const TCPI_ECN_MODE_ACCECN = 2;
export const TCPI_ECN_MODE_PENDING = 3;

// tcpi_accecn_opt_seen.
export const TCP_ACCECN_OPT_NOT_SEEN = 0;
export const TCP_ACCECN_OPT_EMPTY_SEEN = 1;
export const TCP_ACCECN_OPT_COUNTER_SEEN = 2;
export const TCP_ACCECN_OPT_FAIL_SEEN = 3;

// tcpi_accecn_fail_mode.
export const TCP_ACCECN_ACE_FAIL_SEND = 1;
export const TCP_ACCECN_ACE_FAIL_RECV = 2;
export const TCP_ACCECN_OPT_FAIL_SEND = 4;
export const TCP_ACCECN_OPT_FAIL_RECV = 8;

// Why the client of a fast open got no further (tcpi_fastopen_client_fail).
export const TFO_STATUS_UNSPEC = 0;
export const TFO_COOKIE_UNAVAILABLE = 1;
export const TFO_DATA_NOT_ACKED = 2;
export const TFO_SYN_RETRANSMITTED = 3;

// Attributes of SCM_TIMESTAMPING_OPT_STATS.
export const TCP_NLA_PAD = 0;
export const TCP_NLA_BUSY = 1;
export const TCP_NLA_RWND_LIMITED = 2;
export const TCP_NLA_SNDBUF_LIMITED = 3;
export const TCP_NLA_DATA_SEGS_OUT = 4;
export const TCP_NLA_TOTAL_RETRANS = 5;
export const TCP_NLA_PACING_RATE = 6;
export const TCP_NLA_DELIVERY_RATE = 7;
export const TCP_NLA_SND_CWND = 8;
export const TCP_NLA_REORDERING = 9;
export const TCP_NLA_MIN_RTT = 10;
export const TCP_NLA_RECUR_RETRANS = 11;
export const TCP_NLA_DELIVERY_RATE_APP_LMT = 12;
export const TCP_NLA_SNDQ_SIZE = 13;
export const TCP_NLA_CA_STATE = 14;
export const TCP_NLA_SND_SSTHRESH = 15;
export const TCP_NLA_DELIVERED = 16;
export const TCP_NLA_DELIVERED_CE = 17;
export const TCP_NLA_BYTES_SENT = 18;
export const TCP_NLA_BYTES_RETRANS = 19;
export const TCP_NLA_DSACK_DUPS = 20;
export const TCP_NLA_REORD_SEEN = 21;
export const TCP_NLA_SRTT = 22;
export const TCP_NLA_TIMEOUT_REHASH = 23;
export const TCP_NLA_BYTES_NOTSENT = 24;
export const TCP_NLA_EDT = 25;
export const TCP_NLA_TTL = 26;
export const TCP_NLA_REHASH = 27;

// Flags, as in byte 13 of the header (and TCP_SKB_CB(skb)->tcp_flags).
export const TCPHDR_FIN = 0x01;
export const TCPHDR_SYN = 0x02;
export const TCPHDR_RST = 0x04;
export const TCPHDR_PSH = 0x08;
export const TCPHDR_ACK = 0x10;
export const TCPHDR_URG = 0x20;
export const TCPHDR_ECE = 0x40;
export const TCPHDR_CWR = 0x80;
export const TCPHDR_AE = 0x100;
export const TCPHDR_SYN_ECN = 0xc2;
export const TCPHDR_ACE = 0x1c0;

// Option kinds on the wire.
export const TCPOPT_NOP = 1;
export const TCPOPT_EOL = 0;
export const TCPOPT_MSS = 2;
export const TCPOPT_WINDOW = 3;
export const TCPOPT_SACK_PERM = 4;
export const TCPOPT_SACK = 5;
export const TCPOPT_TIMESTAMP = 8;
export const TCPOPT_MD5SIG = 19;
export const TCPOPT_AO = 29;
export const TCPOPT_MPTCP = 30;
export const TCPOPT_FASTOPEN = 34;
/** Accurate ECN, fields in the order ECT(0), CE, ECT(1); and the reverse. */
export const TCPOPT_ACCECN0 = 172;
export const TCPOPT_ACCECN1 = 174;
export const TCPOPT_EXP = 254;
export const TCPOPT_FASTOPEN_MAGIC = 0xf989;

// Option lengths on the wire; the aligned ones include the NOPs.
export const TCPOLEN_MSS = 4;
export const TCPOLEN_WINDOW = 3;
export const TCPOLEN_SACK_PERM = 2;
export const TCPOLEN_TIMESTAMP = 10;
export const TCPOLEN_MD5SIG = 18;
export const TCPOLEN_FASTOPEN_BASE = 2;
export const TCPOLEN_EXP_FASTOPEN_BASE = 4;
export const TCPOLEN_EXP_SMC_BASE = 6;
export const TCPOLEN_ACCECN_BASE = 2;
/** One counter of the Accurate ECN option; there are at most three. */
export const TCPOLEN_ACCECN_PERFIELD = 3;
export const TCP_ACCECN_NUMFIELDS = 3;
export const TCP_ACCECN_MAXSIZE = 11;
export const TCPOLEN_TSTAMP_ALIGNED = 12;
export const TCPOLEN_WSCALE_ALIGNED = 4;
export const TCPOLEN_SACKPERM_ALIGNED = 4;
export const TCPOLEN_SACK_BASE = 2;
export const TCPOLEN_SACK_BASE_ALIGNED = 4;
export const TCPOLEN_SACK_PERBLOCK = 8;
export const TCPOLEN_MD5SIG_ALIGNED = 20;
export const TCPOLEN_MSS_ALIGNED = 4;

const STATE_NAMES: readonly string[] = [
  "",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "CLOSING",
  "NEW_SYN_RECV",
  "BOUND_INACTIVE",
];

/** "ESTABLISHED" of TCP_ESTABLISHED; the number as text for one that is no state. */
export function tcpStateName(state: number): string {
  return STATE_NAMES[state] || String(state);
}
