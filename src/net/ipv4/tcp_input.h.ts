/* notrace file */
/** What the sections of tcp_input share: the flags of an ACK, and whom to tell about recovery. */

/** Incoming frame contained data. */
export const FLAG_DATA = 0x01;
/** Incoming ACK was a window update. */
export const FLAG_WIN_UPDATE = 0x02;
/** This ACK acknowledged new data. */
export const FLAG_DATA_ACKED = 0x04;
/** ... some of which was retransmitted. */
export const FLAG_RETRANS_DATA_ACKED = 0x08;
/** This ACK acknowledged SYN. */
export const FLAG_SYN_ACKED = 0x10;
/** New SACK. */
export const FLAG_DATA_SACKED = 0x20;
/** ECE in this ACK. */
export const FLAG_ECE = 0x40;
/** This ACK marks some retransmission lost. */
export const FLAG_LOST_RETRANS = 0x80;
/** Do not skip RFC checks for window update. */
export const FLAG_SLOWPATH = 0x100;
/** Never retransmitted data are (s)acked. */
export const FLAG_ORIG_SACK_ACKED = 0x200;
/** SND.UNA was changed (!= FLAG_DATA_ACKED: the SYN counts as well). */
export const FLAG_SND_UNA_ADVANCED = 0x400;
/** SACK blocks contained D-SACK info. */
export const FLAG_DSACKING_ACK = 0x800;
/** Set TLP or RTO timer. */
export const FLAG_SET_XMIT_TIMER = 0x1000;
/** SND.UNA advanced to a SACKed sequence number. */
export const FLAG_SACK_RENEGING = 0x2000;
/** tcp_replace_ts_recent() is due. */
export const FLAG_UPDATE_TS_RECENT = 0x4000;
/** Do not call tcp_send_challenge_ack(). */
export const FLAG_NO_CHALLENGE_ACK = 0x8000;
/** Likely a delayed ACK. */
export const FLAG_ACK_MAYBE_DELAYED = 0x10000;
/** The D-SACK is for a tail loss probe. */
export const FLAG_DSACK_TLP = 0x20000;
/** The timestamp has advanced. */
export const FLAG_TS_PROGRESS = 0x40000;

export const FLAG_ACKED: number = FLAG_DATA_ACKED | FLAG_SYN_ACKED;
export const FLAG_NOT_DUP: number = FLAG_DATA | FLAG_WIN_UPDATE | FLAG_ACKED;
export const FLAG_CA_ALERT: number = FLAG_DATA_SACKED | FLAG_ECE | FLAG_DSACKING_ACK;
export const FLAG_FORWARD_PROGRESS: number = FLAG_ACKED | FLAG_DATA_SACKED;

// What tcp_ack's loss recovery asks for: nothing, new data (F-RTO), or what is marked lost.
export const REXMIT_NONE = 0;
export const REXMIT_LOST = 1;
export const REXMIT_NEW = 2;
