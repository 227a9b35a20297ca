// Packet sockets: linux/if_packet.h.

// Options of SOL_PACKET.
export const PACKET_ADD_MEMBERSHIP = 1;
export const PACKET_DROP_MEMBERSHIP = 2;
export const PACKET_RECV_OUTPUT = 3;
export const PACKET_RX_RING = 5;
export const PACKET_STATISTICS = 6;
export const PACKET_COPY_THRESH = 7;
export const PACKET_AUXDATA = 8;
export const PACKET_ORIGDEV = 9;
export const PACKET_VERSION = 10;
export const PACKET_HDRLEN = 11;
export const PACKET_RESERVE = 12;
export const PACKET_TX_RING = 13;
export const PACKET_LOSS = 14;
export const PACKET_VNET_HDR = 15;
export const PACKET_TX_TIMESTAMP = 16;
export const PACKET_TIMESTAMP = 17;
export const PACKET_FANOUT = 18;
export const PACKET_TX_HAS_OFF = 19;
export const PACKET_QDISC_BYPASS = 20;
export const PACKET_ROLLOVER_STATS = 21;
export const PACKET_FANOUT_DATA = 22;
export const PACKET_IGNORE_OUTGOING = 23;
export const PACKET_VNET_HDR_SZ = 24;

// struct packet_mreq: what a membership is about.
export const PACKET_MR_MULTICAST = 0;
export const PACKET_MR_PROMISC = 1;
export const PACKET_MR_ALLMULTI = 2;
export const PACKET_MR_UNICAST = 3;

// struct tpacket_auxdata: tp_status.
export const TP_STATUS_KERNEL = 0;
export const TP_STATUS_USER = 1;
export const TP_STATUS_COPY = 2;
export const TP_STATUS_LOSING = 4;
export const TP_STATUS_CSUMNOTREADY = 8;
export const TP_STATUS_VLAN_VALID = 16;
export const TP_STATUS_CSUM_VALID = 128;
