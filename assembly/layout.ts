/**
 * The memory map and every struct offset of skbuff. This file is the only place where an offset is written. It is
 * compiled by asc (into the wasm module) and by tsc (into the library), and imports nothing.
 *
 * The whole machine lives in one fixed-size shared memory:
 *
 * ```
 *      0 +--------------------------+
 *        | null page (traps bugs)   |
 *   4096 +--------------------------+  CTRL
 *        | control block, per-cpu   |
 *        | arenas, counters         |
 *   8192 +--------------------------+  BLOCK_TABLE
 *        | one BLOCK_DESC for every |
 *        | 64 KiB block of memory   |
 *        +--------------------------+  CTRL_REFS_BASE (in CTRL)
 *        | one u32 reference count  |
 *        | per 512 bytes of memory  |
 *        +--------------------------+  CTRL_STAGING_BASE (in CTRL)
 *        | a staging area per cpu   |
 *        +--------------------------+  CTRL_POOL_BASE (64 KiB aligned)
 *        | blocks: each belongs to  |
 *        | one cpu and holds one    |
 *        | size class, or is free   |
 *        +--------------------------+  memory end
 * ```
 *
 * An skb is an integer: the address of its `sk_buff`. All sizes are in bytes and all addresses are absolute.
 */

// ---- memory map -----------------------------------------------------------------------------------------------------

export const CTRL: u32 = 4096;
export const BLOCK_TABLE: u32 = 8192;
export const BLOCK_SHIFT: u32 = 16;
export const BLOCK_SIZE: u32 = 65536;
/** A reference count exists for every `1 << REF_SHIFT` bytes; buffers are aligned to at least that. */
export const REF_SHIFT: u32 = 9;
/** "skbf", little endian. */
export const MEM_MAGIC: u32 = 0x66626b73;
export const LAYOUT_VERSION: u32 = 1;
export const NR_CPUS: u32 = 8;
/** Handles and addresses stay below 2^31, so that an i32 from wasm is never negative. */
export const MAX_MEMORY: u32 = 0x80000000;

// ---- CTRL: the control block (fields are offsets from CTRL) ---------------------------------------------------------

export const CTRL_MAGIC: u32 = 0;
export const CTRL_VERSION: u32 = 4;
export const CTRL_MEM_SIZE: u32 = 8;
export const CTRL_REFS_BASE: u32 = 12;
export const CTRL_POOL_BASE: u32 = 16;
/** Number of 64 KiB blocks in the pool. */
export const CTRL_POOL_BLOCKS: u32 = 20;
/** Head of the list of free blocks (block number + 1, 0 = none); guarded by CTRL_BLOCK_LOCK. */
export const CTRL_FREE_BLOCKS: u32 = 24;
/** Number of blocks on the free list, those never touched included. */
export const CTRL_FREE_BLOCK_COUNT: u32 = 28;
export const CTRL_BLOCK_LOCK: u32 = 32;
/** The first block that was never handed out: pages above it are untouched. */
export const CTRL_NEXT_BLOCK: u32 = 36;
/** Blocks that may be handed out at most (a test makes memory scarce with it); 0 = all. */
export const CTRL_BLOCK_LIMIT: u32 = 44;
/**
 * Staging areas: STAGING_SIZE bytes a cpu, where bytes on their way from or to the JS heap rest (src/mm/usercopy.ts).
 */
export const CTRL_STAGING_BASE: u32 = 48;
export const STAGING_SIZE: u32 = 65536;
/** Per-cpu arenas start here; one is CPU_ARENA_SIZE long (whole cache lines). */
export const CTRL_ARENAS: u32 = 256;
export const CPU_ARENA_SIZE: u32 = 448;
/** Offsets inside an arena. Partial-block list heads (descriptor addresses), one u32 a size class. */
export const ARENA_PARTIAL: u32 = 0;
/** Serial number of the last skb of this cpu (`skb->id`; the cpu stands in its top 4 bits). */
export const ARENA_SERIAL: u32 = 28;
/** Objects in use, one u32 a size class. */
export const ARENA_IN_USE: u32 = 32;
/** Deterministic counters (u32 each, wrapping), in the order of ARENA_STAT_*. */
export const ARENA_STATS: u32 = 64;
/** Results of the last call that returns more than one value: 16 words. */
export const ARENA_RESULT: u32 = 128;
export const ARENA_RESULT_WORDS: u32 = 16;
/** Working state of a call (the cursor of a segmentation). */
export const ARENA_SCRATCH: u32 = 192;
export const ARENA_SCRATCH_SIZE: u32 = 192;
/** Objects freed by other cpus: a stack linked through the objects' first word. Has its cache line to itself. */
export const ARENA_RETURNED: u32 = 384;
export const ARENA_STAT_SKB_ALLOC: u32 = 0;
export const ARENA_STAT_SKB_CLONE: u32 = 4;
export const ARENA_STAT_SKB_FREE: u32 = 8;
export const ARENA_STAT_BYTES_COPIED: u32 = 12;
export const ARENA_STAT_BYTES_SUMMED: u32 = 16;
export const ARENA_STAT_ALLOC_FAIL: u32 = 20;
export const ARENA_STAT_SEGMENTS: u32 = 24;
export const ARENA_STAT_BUF_ALLOC: u32 = 28;
export const ARENA_STAT_BUF_FREE: u32 = 32;
export const ARENA_STAT_WORDS: u32 = 9;

// ---- size classes ---------------------------------------------------------------------------------------------------

export const CLASS_SKB: u32 = 0;
export const CLASS_512: u32 = 1;
export const CLASS_2K: u32 = 2;
export const CLASS_4K: u32 = 3;
export const CLASS_16K: u32 = 4;
export const CLASS_32K: u32 = 5;
export const CLASS_64K: u32 = 6;
export const NR_CLASSES: u32 = 7;

// ---- block descriptor -----------------------------------------------------------------------------------------------

export const BLOCK_DESC_SIZE: u32 = 32;
export const BLOCK_CLASS: u32 = 0;
export const BLOCK_CPU: u32 = 4;
export const BLOCK_FREE_LIST: u32 = 8;
export const BLOCK_IN_USE: u32 = 12;
/** Objects of the block that were never handed out start here (address). */
export const BLOCK_FRESH: u32 = 16;
export const BLOCK_NEXT: u32 = 20;
export const BLOCK_PREV: u32 = 24;
/** BLOCK_FREE, BLOCK_PARTIAL or BLOCK_FULL. */
export const BLOCK_STATE: u32 = 28;
export const BLOCK_FREE: u32 = 0;
export const BLOCK_PARTIAL: u32 = 1;
export const BLOCK_FULL: u32 = 2;

// ---- struct sk_buff -------------------------------------------------------------------------------------------------
//
//  head            data                 tail              end
//   |<- headroom -->|<---- headlen ----->|<-- tailroom -->|  skb_shared_info
//   +---------------+--------------------+----------------+-----------------+
//   mac_header, network_header and transport_header are absolute addresses inside [head, end]; 0 = not set.

export const SKB_SIZE: u32 = 256;
export const SKB_SHIFT: u32 = 8;
/** Doubly linked into an SkBuffHead (or any list); 0 = end. */
export const SKB_NEXT: u32 = 0;
export const SKB_PREV: u32 = 4;
/** Slot in the kernel's socket table; 0 = none. */
export const SKB_SK: u32 = 8;
/** Slot in the kernel's device table (not the ifindex); 0 = none. */
export const SKB_DEV: u32 = 12;
/** Bytes in head and frags together. */
export const SKB_LEN: u32 = 16;
/** Bytes in frags and the frag list. */
export const SKB_DATA_LEN: u32 = 20;
export const SKB_HEAD: u32 = 24;
export const SKB_DATA: u32 = 28;
export const SKB_TAIL: u32 = 32;
/** Address of the skb_shared_info. */
export const SKB_END: u32 = 36;
export const SKB_TRANSPORT_HEADER: u32 = 40;
export const SKB_NETWORK_HEADER: u32 = 44;
export const SKB_MAC_HEADER: u32 = 48;
export const SKB_TRUESIZE: u32 = 52;
/** refcount of the sk_buff itself (atomic). */
export const SKB_USERS: u32 = 56;
/** EtherType in host order (0x0800), u16. */
export const SKB_PROTOCOL: u32 = 60;
/** PACKET_HOST ..., u8. */
export const SKB_PKT_TYPE: u32 = 62;
/** CHECKSUM_NONE ..., u8. */
export const SKB_IP_SUMMED: u32 = 63;
/** CHECKSUM_COMPLETE: the 32-bit sum over data; also scratch for the copy-and-sum path. */
export const SKB_CSUM: u32 = 64;
/** CHECKSUM_PARTIAL: offset of the first summed byte from head, u16. */
export const SKB_CSUM_START: u32 = 68;
/** CHECKSUM_PARTIAL: offset of the checksum field from csum_start, u16. */
export const SKB_CSUM_OFFSET: u32 = 70;
export const SKB_PRIORITY: u32 = 72;
export const SKB_MARK: u32 = 76;
export const SKB_HASH: u32 = 80;
/** ifindex of the device that the packet arrived on. */
export const SKB_SKB_IIF: u32 = 84;
export const SKB_VLAN_TCI: u32 = 88;
export const SKB_QUEUE_MAPPING: u32 = 90;
/** u8: the head is (or was) shared with a clone. */
export const SKB_CLONED: u32 = 92;
/** u8: SKB_DESTRUCTOR_*: which accounting runs when the skb leaves its owner. */
export const SKB_DESTRUCTOR: u32 = 93;
/** u8: bit set of SKB_FLAG_*. */
export const SKB_FLAGS: u32 = 94;
/** u8: NF_INET hook state (REPEAT/REROUTED) and nf_trace. */
export const SKB_NF: u32 = 95;
/** f64: microseconds (skb_mstamp / receive stamp); 0 = none. */
export const SKB_TSTAMP: u32 = 96;
/** Slot of the conntrack entry; 0 = none. */
export const SKB_NFCT: u32 = 104;
/** Serial number, for tracing; a clone gets its own. */
export const SKB_ID: u32 = 108;
/** Serial number of the skb that this was cloned from or segmented from; its own id otherwise. */
export const SKB_ORIGIN: u32 = 112;
/** u16: length of the link-layer header. */
export const SKB_MAC_LEN: u32 = 116;
/** u16: length of the writable header part of a clone. */
export const SKB_HDR_LEN: u32 = 118;
/** Reserved words. */
export const SKB_RESERVED: u32 = 120;
/** 128 bytes that belong to whichever layer holds the skb now. */
export const SKB_CB: u32 = 128;
export const SKB_CB_SIZE: u32 = 128;

export const SKB_DESTRUCTOR_NONE: u32 = 0;
export const SKB_DESTRUCTOR_WFREE: u32 = 1;
export const SKB_DESTRUCTOR_RFREE: u32 = 2;
export const SKB_DESTRUCTOR_TCP_WFREE: u32 = 3;
export const SKB_DESTRUCTOR_EFREE: u32 = 4;
export const SKB_DESTRUCTOR_OFREE: u32 = 5;

/** skb->ignore_df / local_df. */
export const SKB_FLAG_IGNORE_DF: u32 = 1;
/** skb->nohdr: this sk_buff reads the payload only, others may write the header (TCP's write queue). */
export const SKB_FLAG_NOHDR: u32 = 2;
/** The dst of this skb must be confirmed (neighbour is alive). */
export const SKB_FLAG_DST_PENDING_CONFIRM: u32 = 4;
/** The skb was looped back by the local host. */
export const SKB_FLAG_PEEKED: u32 = 8;
/** skb->unreadable / ooo_okay, reserved. */
export const SKB_FLAG_OOO_OKAY: u32 = 16;
/** The skb is being delivered as the looped copy of a multicast/broadcast. */
export const SKB_FLAG_LOOPED: u32 = 32;
/** The head is no page fragment (skb->head_frag is 0): its bytes cannot be taken over by another skb. */
export const SKB_FLAG_HEAD_LOCKED: u32 = 64;
/** wifi_acked etc. have no use here; this marks an skb poisoned by the debug build. */
export const SKB_FLAG_POISONED: u32 = 128;

export const CHECKSUM_NONE: u32 = 0;
export const CHECKSUM_UNNECESSARY: u32 = 1;
export const CHECKSUM_COMPLETE: u32 = 2;
export const CHECKSUM_PARTIAL: u32 = 3;

export const PACKET_HOST: u32 = 0;
export const PACKET_BROADCAST: u32 = 1;
export const PACKET_MULTICAST: u32 = 2;
export const PACKET_OTHERHOST: u32 = 3;
export const PACKET_OUTGOING: u32 = 4;
export const PACKET_LOOPBACK: u32 = 5;

// ---- struct skb_shared_info (at skb->end) ---------------------------------------------------------------------------

export const MAX_SKB_FRAGS: u32 = 17;
export const SHINFO_NR_FRAGS: u32 = 0;
export const SHINFO_TX_FLAGS: u32 = 1;
export const SHINFO_GSO_SIZE: u32 = 2;
export const SHINFO_GSO_SEGS: u32 = 4;
export const SHINFO_GSO_TYPE: u32 = 6;
export const SHINFO_FRAG_LIST: u32 = 8;
export const SHINFO_TSKEY: u32 = 12;
/** The zero-copy notifier (struct ubuf_info_msgzc), which is the sk_buff of its notification; 0 = none. See UARG_*. */
export const SHINFO_UARG: u32 = 16;
/**
 * References to the data from sk_buffs (atomic): low half all of them, high half those that need the payload only
 * (SKB_FLAG_NOHDR). Apart from the buffer's own reference count, which frags of other skbs may hold as well.
 */
export const SHINFO_DATAREF: u32 = 20;
export const SKB_DATAREF_SHIFT: u32 = 16;
export const SKB_DATAREF_MASK: u32 = 0xffff;
export const SHINFO_FRAGS: u32 = 24;
/** skb_frag: page (address of the buffer that holds the reference), offset, size. */
export const FRAG_PAGE: u32 = 0;
export const FRAG_OFFSET: u32 = 4;
export const FRAG_LEN: u32 = 8;
export const FRAG_SIZE: u32 = 12;
/** 24 + 17 * 12 = 228, rounded up to 16. */
export const SKB_SHARED_INFO_SIZE: u32 = 240;

export const SKB_GSO_TCPV4: u32 = 1;
export const SKB_GSO_DODGY: u32 = 2;
export const SKB_GSO_TCP_ECN: u32 = 4;
export const SKB_GSO_TCP_FIXEDID: u32 = 8;
export const SKB_GSO_TCPV6: u32 = 16;
export const SKB_GSO_UDP_L4: u32 = 32;
/** Accurate ECN: CWR is a bit of a counter, and stands in every frame. */
export const SKB_GSO_TCP_ACCECN: u32 = 64;

/** What gsoSegment is told of the device: it gathers frags; it computes checksums. */
export const GSO_SEG_SG: u32 = 1;
export const GSO_SEG_CSUM: u32 = 2;

/** Room in front of a TCP header for everything below it: Ethernet 14, IPv4 with options 60, rounded; 16-aligned. */
export const MAX_HEADER: u32 = 80;
/** MAX_HEADER plus the largest TCP header (60), 16-aligned. */
export const MAX_TCP_HEADER: u32 = 144;
/** So that the network header after a 14-byte Ethernet header is 4-byte aligned. */
export const NET_IP_ALIGN: u32 = 2;
/** Headroom that drivers leave in front of a received frame. */
export const NET_SKB_PAD: u32 = 64;

// ---- struct tcp_skb_cb, in skb->cb ----------------------------------------------------------------------------------
// IPCB (struct inet_skb_parm) is kept apart from it: both may be live at once on receive.

export const TCPCB_SEQ: u32 = 128;
/** SEQ + FIN + SYN + data length. */
export const TCPCB_END_SEQ: u32 = 132;
export const TCPCB_ACK_SEQ: u32 = 136;
/** u16: TCPHDR_* (includes AE in bit 8). */
export const TCPCB_TCP_FLAGS: u32 = 140;
/** u8: TCPCB_SACKED_ACKED ... state flags. */
export const TCPCB_SACKED: u32 = 142;
/** u8: IPv4 tos / IPv6 dsfield. */
export const TCPCB_IP_DSFIELD: u32 = 143;
/** u16 each. */
export const TCPCB_TCP_GSO_SEGS: u32 = 144;
export const TCPCB_TCP_GSO_SIZE: u32 = 146;
/** u8: bit 0 txstamp_ack, bit 1 eor, bit 2 has_rxtstamp, bit 3 unused, bit 4 is_app_limited. */
export const TCPCB_FLAGS: u32 = 148;
export const TCPCB_FLAG_TXSTAMP_ACK: u32 = 1;
export const TCPCB_FLAG_EOR: u32 = 2;
export const TCPCB_FLAG_HAS_RXTSTAMP: u32 = 4;
export const TCPCB_FLAG_APP_LIMITED: u32 = 16;
/** u32: packets delivered when this was sent (tx.delivered), and of those with CE. */
export const TCPCB_TX_DELIVERED: u32 = 152;
export const TCPCB_TX_DELIVERED_CE: u32 = 156;
/** f64, microseconds. */
export const TCPCB_TX_FIRST_MSTAMP: u32 = 160;
export const TCPCB_TX_DELIVERED_MSTAMP: u32 = 168;
/** u32: bytes in flight when this was sent (tx.in_flight). */
export const TCPCB_TX_IN_FLIGHT: u32 = 176;
/** u32: rcv timestamps of a received segment, kept for the receive path (ISN for a SYN that reopens TIME_WAIT). */
export const TCPCB_TCP_TW_ISN: u32 = 180;
/** struct inet_skb_parm: IPCB(skb). u16 flags (IPSKB_*), u16 frag_max_size, u32 iif, u8 optlen. */
export const IPCB_FLAGS: u32 = 184;
export const IPCB_FRAG_MAX_SIZE: u32 = 186;
export const IPCB_IIF: u32 = 188;
export const IPCB_OPTLEN: u32 = 192;
/** u8 offsets from the network header of the parsed options; 0 = absent. */
export const IPCB_SRR: u32 = 193;
export const IPCB_RR: u32 = 194;
export const IPCB_TS: u32 = 195;
export const IPCB_ROUTER_ALERT: u32 = 196;
/** u8: bits for is_strictroute, srr_is_hit, is_changed, rr_needaddr, ts_needtime, ts_needaddr. */
export const IPCB_OPT_FLAGS: u32 = 197;
/** u8: offset of a CIPSO option. */
export const IPCB_CIPSO: u32 = 198;
/** u32: next hop of a source route. */
export const IPCB_NEXTHOP: u32 = 200;
/** struct ipfrag_skb_cb: u32 offset of the fragment in its datagram. */
export const FRAGCB_OFFSET: u32 = 204;
/**
 * struct sock_exterr_skb, of an skb on an error queue (in place of the transport's part). u32 ee_errno; u8 ee_origin,
 * ee_type, ee_code; u32 ee_info, ee_data; u16 offset of the offender's address from the network header; u16 port; u8
 * opt_stats.
 */
export const EXTERR_ERRNO: u32 = 128;
export const EXTERR_ORIGIN: u32 = 132;
export const EXTERR_TYPE: u32 = 133;
export const EXTERR_CODE: u32 = 134;
export const EXTERR_OPT_STATS: u32 = 135;
export const EXTERR_INFO: u32 = 136;
export const EXTERR_DATA: u32 = 140;
export const EXTERR_ADDR_OFFSET: u32 = 144;
export const EXTERR_PORT: u32 = 146;
/**
 * struct ubuf_info_msgzc, in the cb of the sk_buff that will tell the sender: u32 references (atomic; one for each
 * skb_shared_info, one for the call that is under way), u32 the first send's number, u32 how many sends, u32 their
 * bytes.
 */
export const UARG_REFCNT: u32 = 160;
export const UARG_ID: u32 = 164;
export const UARG_LEN: u32 = 168;
export const UARG_BYTELEN: u32 = 172;
/** struct packet_skb_cb, of a frame on a packet socket's queue. u32 ifindex; u32 length before a filter cut it. */
export const PACKETCB_IFINDEX: u32 = 148;
export const PACKETCB_ORIGLEN: u32 = 152;
/** SOCK_SKB_CB(skb)->dropcount: what sk_drops was when the datagram was queued. */
export const SOCKCB_DROPCOUNT: u32 = 156;
/** struct qdisc_skb_cb: u32 pkt_len with link headers; f64 time_to_send (netem, fq). */
export const QDISC_PKT_LEN: u32 = 208;
export const QDISC_TIME_TO_SEND: u32 = 216;
/** struct napi_gro_cb, of an skb that GRO holds. u32 the last skb of its frag list; u32 frames in it; u8 fixed IP id. */
export const GROCB_LAST: u32 = 224;
export const GROCB_COUNT: u32 = 228;
export const GROCB_FIXEDID: u32 = 232;

// ---- rings of skbs between two cpus (net/core/ring.ts) --------------------------------------------------------------

export const RING_HEAD: u32 = 0;
export const RING_TAIL: u32 = 64;
export const RING_MASK: u32 = 128;
export const RING_SLOTS: u32 = 192;

// ---- descriptor rings of the rtl819x switch core --------------------------------------------------------------------
// A ring is an array of u32 words: pkthdr address | DESC_OWNED_BIT | DESC_WRAP on the last.

/** 1 = owned by the switch core, 0 = owned by the RISC. */
export const DESC_OWNED_BIT: u32 = 1;
export const DESC_WRAP: u32 = 2;
/** struct rtl_pktHdr, 32 bytes, so the low bits of its address are free for OWN and WRAP. */
export const PKTHDR_SIZE: u32 = 32;
export const PH_NEXTHDR: u32 = 0;
export const PH_MBUF: u32 = 4;
/** u16 each. */
export const PH_LEN: u32 = 8;
export const PH_PORTLIST: u32 = 10;
export const PH_FLAGS: u32 = 12;
export const PH_SRC_EXT_PORT: u32 = 14;
export const PH_VLAN_ID: u32 = 16;
export const PH_RX_FLAGS: u32 = 18;
/** struct rtl_mBuf, 32 bytes. */
export const MBUF_SIZE: u32 = 32;
export const MBUF_NEXT: u32 = 0;
export const MBUF_PKTHDR: u32 = 4;
export const MBUF_LEN: u32 = 8;
export const MBUF_FLAGS: u32 = 10;
/** Address of the frame's bytes. */
export const MBUF_DATA: u32 = 12;
/** Address of the buffer that holds them. */
export const MBUF_EXTBUF: u32 = 16;
export const MBUF_EXTSIZE: u32 = 20;
/** The skb that the buffer belongs to. */
export const MBUF_SKB: u32 = 24;

// ---- the check of both sides ----------------------------------------------------------------------------------------

function mix(h: u32, value: u32): u32 {
  return (((h << 5) | (h >>> 27)) ^ value) >>> 0;
}

/** A hash of every number above, in order. The wasm module exports it, and the loader compares it with its own. */
export function layoutHash(): u32 {
  let h: u32 = 1;
  h = mix(h, CTRL);
  h = mix(h, BLOCK_TABLE);
  h = mix(h, BLOCK_SHIFT);
  h = mix(h, BLOCK_SIZE);
  h = mix(h, REF_SHIFT);
  h = mix(h, MEM_MAGIC);
  h = mix(h, LAYOUT_VERSION);
  h = mix(h, NR_CPUS);
  h = mix(h, MAX_MEMORY);
  h = mix(h, CTRL_MAGIC);
  h = mix(h, CTRL_VERSION);
  h = mix(h, CTRL_MEM_SIZE);
  h = mix(h, CTRL_REFS_BASE);
  h = mix(h, CTRL_POOL_BASE);
  h = mix(h, CTRL_POOL_BLOCKS);
  h = mix(h, CTRL_FREE_BLOCKS);
  h = mix(h, CTRL_FREE_BLOCK_COUNT);
  h = mix(h, CTRL_BLOCK_LOCK);
  h = mix(h, CTRL_NEXT_BLOCK);
  h = mix(h, CTRL_BLOCK_LIMIT);
  h = mix(h, CTRL_STAGING_BASE);
  h = mix(h, STAGING_SIZE);
  h = mix(h, CTRL_ARENAS);
  h = mix(h, CPU_ARENA_SIZE);
  h = mix(h, ARENA_PARTIAL);
  h = mix(h, ARENA_SERIAL);
  h = mix(h, ARENA_IN_USE);
  h = mix(h, ARENA_STATS);
  h = mix(h, ARENA_RESULT);
  h = mix(h, ARENA_RESULT_WORDS);
  h = mix(h, ARENA_SCRATCH);
  h = mix(h, ARENA_SCRATCH_SIZE);
  h = mix(h, ARENA_RETURNED);
  h = mix(h, ARENA_STAT_SKB_ALLOC);
  h = mix(h, ARENA_STAT_SKB_CLONE);
  h = mix(h, ARENA_STAT_SKB_FREE);
  h = mix(h, ARENA_STAT_BYTES_COPIED);
  h = mix(h, ARENA_STAT_BYTES_SUMMED);
  h = mix(h, ARENA_STAT_ALLOC_FAIL);
  h = mix(h, ARENA_STAT_SEGMENTS);
  h = mix(h, ARENA_STAT_BUF_ALLOC);
  h = mix(h, ARENA_STAT_BUF_FREE);
  h = mix(h, ARENA_STAT_WORDS);
  h = mix(h, CLASS_SKB);
  h = mix(h, CLASS_512);
  h = mix(h, CLASS_2K);
  h = mix(h, CLASS_4K);
  h = mix(h, CLASS_16K);
  h = mix(h, CLASS_32K);
  h = mix(h, CLASS_64K);
  h = mix(h, NR_CLASSES);
  h = mix(h, BLOCK_DESC_SIZE);
  h = mix(h, BLOCK_CLASS);
  h = mix(h, BLOCK_CPU);
  h = mix(h, BLOCK_FREE_LIST);
  h = mix(h, BLOCK_IN_USE);
  h = mix(h, BLOCK_FRESH);
  h = mix(h, BLOCK_NEXT);
  h = mix(h, BLOCK_PREV);
  h = mix(h, BLOCK_STATE);
  h = mix(h, BLOCK_FREE);
  h = mix(h, BLOCK_PARTIAL);
  h = mix(h, BLOCK_FULL);
  h = mix(h, SKB_SIZE);
  h = mix(h, SKB_SHIFT);
  h = mix(h, SKB_NEXT);
  h = mix(h, SKB_PREV);
  h = mix(h, SKB_SK);
  h = mix(h, SKB_DEV);
  h = mix(h, SKB_LEN);
  h = mix(h, SKB_DATA_LEN);
  h = mix(h, SKB_HEAD);
  h = mix(h, SKB_DATA);
  h = mix(h, SKB_TAIL);
  h = mix(h, SKB_END);
  h = mix(h, SKB_TRANSPORT_HEADER);
  h = mix(h, SKB_NETWORK_HEADER);
  h = mix(h, SKB_MAC_HEADER);
  h = mix(h, SKB_TRUESIZE);
  h = mix(h, SKB_USERS);
  h = mix(h, SKB_PROTOCOL);
  h = mix(h, SKB_PKT_TYPE);
  h = mix(h, SKB_IP_SUMMED);
  h = mix(h, SKB_CSUM);
  h = mix(h, SKB_CSUM_START);
  h = mix(h, SKB_CSUM_OFFSET);
  h = mix(h, SKB_PRIORITY);
  h = mix(h, SKB_MARK);
  h = mix(h, SKB_HASH);
  h = mix(h, SKB_SKB_IIF);
  h = mix(h, SKB_VLAN_TCI);
  h = mix(h, SKB_QUEUE_MAPPING);
  h = mix(h, SKB_CLONED);
  h = mix(h, SKB_DESTRUCTOR);
  h = mix(h, SKB_FLAGS);
  h = mix(h, SKB_NF);
  h = mix(h, SKB_TSTAMP);
  h = mix(h, SKB_NFCT);
  h = mix(h, SKB_ID);
  h = mix(h, SKB_ORIGIN);
  h = mix(h, SKB_MAC_LEN);
  h = mix(h, SKB_HDR_LEN);
  h = mix(h, SKB_RESERVED);
  h = mix(h, SKB_CB);
  h = mix(h, SKB_CB_SIZE);
  h = mix(h, SKB_DESTRUCTOR_NONE);
  h = mix(h, SKB_DESTRUCTOR_WFREE);
  h = mix(h, SKB_DESTRUCTOR_RFREE);
  h = mix(h, SKB_DESTRUCTOR_TCP_WFREE);
  h = mix(h, SKB_DESTRUCTOR_EFREE);
  h = mix(h, SKB_FLAG_IGNORE_DF);
  h = mix(h, SKB_FLAG_NOHDR);
  h = mix(h, SKB_FLAG_DST_PENDING_CONFIRM);
  h = mix(h, SKB_FLAG_PEEKED);
  h = mix(h, SKB_FLAG_OOO_OKAY);
  h = mix(h, SKB_FLAG_LOOPED);
  h = mix(h, SKB_FLAG_HEAD_LOCKED);
  h = mix(h, SKB_FLAG_POISONED);
  h = mix(h, CHECKSUM_NONE);
  h = mix(h, CHECKSUM_UNNECESSARY);
  h = mix(h, CHECKSUM_COMPLETE);
  h = mix(h, CHECKSUM_PARTIAL);
  h = mix(h, PACKET_HOST);
  h = mix(h, PACKET_BROADCAST);
  h = mix(h, PACKET_MULTICAST);
  h = mix(h, PACKET_OTHERHOST);
  h = mix(h, PACKET_OUTGOING);
  h = mix(h, PACKET_LOOPBACK);
  h = mix(h, MAX_SKB_FRAGS);
  h = mix(h, SHINFO_NR_FRAGS);
  h = mix(h, SHINFO_TX_FLAGS);
  h = mix(h, SHINFO_GSO_SIZE);
  h = mix(h, SHINFO_GSO_SEGS);
  h = mix(h, SHINFO_GSO_TYPE);
  h = mix(h, SHINFO_FRAG_LIST);
  h = mix(h, SHINFO_TSKEY);
  h = mix(h, SHINFO_UARG);
  h = mix(h, UARG_REFCNT);
  h = mix(h, SHINFO_DATAREF);
  h = mix(h, SKB_DATAREF_SHIFT);
  h = mix(h, SKB_DATAREF_MASK);
  h = mix(h, SHINFO_FRAGS);
  h = mix(h, FRAG_PAGE);
  h = mix(h, FRAG_OFFSET);
  h = mix(h, FRAG_LEN);
  h = mix(h, FRAG_SIZE);
  h = mix(h, SKB_SHARED_INFO_SIZE);
  h = mix(h, SKB_GSO_TCPV4);
  h = mix(h, SKB_GSO_DODGY);
  h = mix(h, SKB_GSO_TCP_ECN);
  h = mix(h, SKB_GSO_TCP_FIXEDID);
  h = mix(h, SKB_GSO_TCPV6);
  h = mix(h, SKB_GSO_UDP_L4);
  h = mix(h, SKB_GSO_TCP_ACCECN);
  h = mix(h, GSO_SEG_SG);
  h = mix(h, GSO_SEG_CSUM);
  h = mix(h, MAX_HEADER);
  h = mix(h, MAX_TCP_HEADER);
  h = mix(h, NET_IP_ALIGN);
  h = mix(h, NET_SKB_PAD);
  h = mix(h, TCPCB_SEQ);
  h = mix(h, TCPCB_END_SEQ);
  h = mix(h, TCPCB_ACK_SEQ);
  h = mix(h, TCPCB_TCP_FLAGS);
  h = mix(h, TCPCB_SACKED);
  h = mix(h, TCPCB_IP_DSFIELD);
  h = mix(h, TCPCB_TCP_GSO_SEGS);
  h = mix(h, TCPCB_TCP_GSO_SIZE);
  h = mix(h, TCPCB_FLAGS);
  h = mix(h, TCPCB_FLAG_TXSTAMP_ACK);
  h = mix(h, TCPCB_FLAG_EOR);
  h = mix(h, TCPCB_FLAG_HAS_RXTSTAMP);
  h = mix(h, TCPCB_FLAG_APP_LIMITED);
  h = mix(h, TCPCB_TX_DELIVERED);
  h = mix(h, TCPCB_TX_DELIVERED_CE);
  h = mix(h, TCPCB_TX_FIRST_MSTAMP);
  h = mix(h, TCPCB_TX_DELIVERED_MSTAMP);
  h = mix(h, TCPCB_TX_IN_FLIGHT);
  h = mix(h, TCPCB_TCP_TW_ISN);
  h = mix(h, IPCB_FLAGS);
  h = mix(h, IPCB_FRAG_MAX_SIZE);
  h = mix(h, IPCB_IIF);
  h = mix(h, IPCB_OPTLEN);
  h = mix(h, IPCB_SRR);
  h = mix(h, IPCB_RR);
  h = mix(h, IPCB_TS);
  h = mix(h, IPCB_ROUTER_ALERT);
  h = mix(h, IPCB_OPT_FLAGS);
  h = mix(h, IPCB_NEXTHOP);
  h = mix(h, FRAGCB_OFFSET);
  h = mix(h, QDISC_PKT_LEN);
  h = mix(h, QDISC_TIME_TO_SEND);
  h = mix(h, GROCB_LAST);
  h = mix(h, GROCB_COUNT);
  h = mix(h, GROCB_FIXEDID);
  h = mix(h, RING_HEAD);
  h = mix(h, RING_TAIL);
  h = mix(h, RING_MASK);
  h = mix(h, RING_SLOTS);
  h = mix(h, DESC_OWNED_BIT);
  h = mix(h, DESC_WRAP);
  h = mix(h, PKTHDR_SIZE);
  h = mix(h, PH_NEXTHDR);
  h = mix(h, PH_MBUF);
  h = mix(h, PH_LEN);
  h = mix(h, PH_PORTLIST);
  h = mix(h, PH_FLAGS);
  h = mix(h, PH_SRC_EXT_PORT);
  h = mix(h, PH_VLAN_ID);
  h = mix(h, PH_RX_FLAGS);
  h = mix(h, MBUF_SIZE);
  h = mix(h, MBUF_NEXT);
  h = mix(h, MBUF_PKTHDR);
  h = mix(h, MBUF_LEN);
  h = mix(h, MBUF_FLAGS);
  h = mix(h, MBUF_DATA);
  h = mix(h, MBUF_EXTBUF);
  h = mix(h, MBUF_EXTSIZE);
  h = mix(h, MBUF_SKB);
  return h;
}
