// Connection tracking: linux/netfilter/nf_conntrack_common.h, nf_conntrack_tcp.h, nf_nat.h.

// Where a packet stands in its connection.
export const IP_CT_ESTABLISHED = 0;
export const IP_CT_RELATED = 1;
export const IP_CT_NEW = 2;
export const IP_CT_IS_REPLY = 3;
export const IP_CT_ESTABLISHED_REPLY = 3;
export const IP_CT_RELATED_REPLY = 4;
export const IP_CT_NUMBER = 5;
export const IP_CT_NEW_REPLY = 5;

// The same as bits of "ct state" of nft.
export const NF_CT_STATE_INVALID_BIT = 0x1;
export const NF_CT_STATE_UNTRACKED_BIT = 0x40;

// Status bits of a connection.
export const IPS_EXPECTED_BIT = 0x0;
export const IPS_EXPECTED = 0x1;
export const IPS_SEEN_REPLY_BIT = 0x1;
export const IPS_SEEN_REPLY = 0x2;
export const IPS_ASSURED_BIT = 0x2;
export const IPS_ASSURED = 0x4;
export const IPS_CONFIRMED_BIT = 0x3;
export const IPS_CONFIRMED = 0x8;
export const IPS_SRC_NAT_BIT = 0x4;
export const IPS_SRC_NAT = 0x10;
export const IPS_DST_NAT_BIT = 0x5;
export const IPS_DST_NAT = 0x20;
export const IPS_NAT_MASK = 0x30;
export const IPS_SEQ_ADJUST_BIT = 0x6;
export const IPS_SEQ_ADJUST = 0x40;
export const IPS_SRC_NAT_DONE_BIT = 0x7;
export const IPS_SRC_NAT_DONE = 0x80;
export const IPS_DST_NAT_DONE_BIT = 0x8;
export const IPS_DST_NAT_DONE = 0x100;
export const IPS_NAT_DONE_MASK = 0x180;
export const IPS_DYING_BIT = 0x9;
export const IPS_DYING = 0x200;
export const IPS_FIXED_TIMEOUT_BIT = 0xa;
export const IPS_FIXED_TIMEOUT = 0x400;
export const IPS_TEMPLATE_BIT = 0xb;
export const IPS_TEMPLATE = 0x800;
export const IPS_UNTRACKED_BIT = 0xc;
export const IPS_UNTRACKED = 0x1000;
export const IPS_HELPER_BIT = 0xd;
export const IPS_HELPER = 0x2000;
export const IPS_OFFLOAD_BIT = 0xe;
export const IPS_OFFLOAD = 0x4000;
export const IPS_HW_OFFLOAD_BIT = 0xf;
export const IPS_HW_OFFLOAD = 0x8000;
export const IPS_UNCHANGEABLE_MASK = 0xdbf9;

// Events.
export const IPCT_NEW = 0;
export const IPCT_RELATED = 1;
export const IPCT_DESTROY = 2;
export const IPCT_REPLY = 3;
export const IPCT_ASSURED = 4;
export const IPCT_PROTOINFO = 5;
export const IPCT_HELPER = 6;
export const IPCT_MARK = 7;
export const IPCT_SEQADJ = 8;
export const IPCT_NATSEQADJ = 8;
export const IPCT_SECMARK = 9;
export const IPCT_LABEL = 10;
export const IPCT_SYNPROXY = 11;

// TCP as the tracker sees it.
export const TCP_CONNTRACK_NONE = 0;
export const TCP_CONNTRACK_SYN_SENT = 1;
export const TCP_CONNTRACK_SYN_RECV = 2;
export const TCP_CONNTRACK_ESTABLISHED = 3;
export const TCP_CONNTRACK_FIN_WAIT = 4;
export const TCP_CONNTRACK_CLOSE_WAIT = 5;
export const TCP_CONNTRACK_LAST_ACK = 6;
export const TCP_CONNTRACK_TIME_WAIT = 7;
export const TCP_CONNTRACK_CLOSE = 8;
export const TCP_CONNTRACK_LISTEN = 9;
export const TCP_CONNTRACK_SYN_SENT2 = 9;
export const TCP_CONNTRACK_MAX = 10;
export const TCP_CONNTRACK_IGNORE = 11;
export const TCP_CONNTRACK_RETRANS = 12;
export const TCP_CONNTRACK_UNACK = 13;
export const TCP_CONNTRACK_TIMEOUT_MAX = 14;

// What the tracker knows of one side of a TCP connection.
export const IP_CT_TCP_FLAG_WINDOW_SCALE = 0x1;
export const IP_CT_TCP_FLAG_SACK_PERM = 0x2;
export const IP_CT_TCP_FLAG_CLOSE_INIT = 0x4;
export const IP_CT_TCP_FLAG_BE_LIBERAL = 0x8;
export const IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED = 0x10;
export const IP_CT_TCP_FLAG_MAXACK_SET = 0x20;
export const IP_CT_TCP_SIMULTANEOUS_OPEN = 0x80;

// What a NAT range says.
export const NF_NAT_RANGE_MAP_IPS = 0x1;
export const NF_NAT_RANGE_PROTO_SPECIFIED = 0x2;
export const NF_NAT_RANGE_PROTO_RANDOM = 0x4;
export const NF_NAT_RANGE_PERSISTENT = 0x8;
export const NF_NAT_RANGE_PROTO_RANDOM_FULLY = 0x10;
export const NF_NAT_RANGE_PROTO_OFFSET = 0x20;
export const NF_NAT_RANGE_NETMAP = 0x40;
export const NF_NAT_RANGE_PROTO_RANDOM_ALL = 0x14;
export const NF_NAT_RANGE_MASK = 0x7f;

// What a NAT changes.
export const NF_NAT_MANIP_SRC = 0;
export const NF_NAT_MANIP_DST = 1;
