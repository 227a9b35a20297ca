// Traffic control: linux/pkt_sched.h.

// skb->priority.
export const TC_PRIO_BESTEFFORT = 0;
export const TC_PRIO_FILLER = 1;
export const TC_PRIO_BULK = 2;
export const TC_PRIO_INTERACTIVE_BULK = 4;
export const TC_PRIO_INTERACTIVE = 6;
export const TC_PRIO_CONTROL = 7;
export const TC_PRIO_MAX = 15;

// Handles: 16 bits of major number, 16 of minor.
export const TC_H_MAJ_MASK = 0xffff0000;
export const TC_H_MIN_MASK = 0xffff;
export const TC_H_UNSPEC = 0x0;
export const TC_H_ROOT = 0xffffffff;
export const TC_H_INGRESS = 0xfffffff1;
export const TC_H_CLSACT = 0xfffffff1;
export const TC_H_MIN_PRIORITY = 0xffe0;
export const TC_H_MIN_INGRESS = 0xfff2;
export const TC_H_MIN_EGRESS = 0xfff3;

// Actions of filters.
export const TC_ACT_UNSPEC = -1;
export const TC_ACT_OK = 0;
export const TC_ACT_RECLASSIFY = 1;
export const TC_ACT_SHOT = 2;
export const TC_ACT_PIPE = 3;
export const TC_ACT_STOLEN = 4;
export const TC_ACT_QUEUED = 5;
export const TC_ACT_REPEAT = 6;
export const TC_ACT_REDIRECT = 7;
export const TC_ACT_TRAP = 8;

/** The major half of a handle, in place. */
export function TC_H_MAJ(h: number): number {
  return (h & TC_H_MAJ_MASK) >>> 0;
}

/** The minor half of a handle. */
export function TC_H_MIN(h: number): number {
  return h & TC_H_MIN_MASK;
}

/** A handle of a major half (in place) and a minor one. */
export function TC_H_MAKE(maj: number, min: number): number {
  return ((maj & TC_H_MAJ_MASK) | (min & TC_H_MIN_MASK)) >>> 0;
}
