// The exports of the module, nothing else.

export { layoutHash } from "./layout";
export { csumAndCopy, csumPartial, memcpy } from "./lib/checksum";
export { allocPage, bufferSize, drainReturned, getPage, inUse, mmInit, pageRefs, putPage } from "./mm/slab";
export { groReceive } from "./net/core/gro";
export { forwardFrames, gsoSegment } from "./net/core/gso";
export { ringCount, ringInit, ringPop, ringPush } from "./net/core/ring";
export {
  allocSkb,
  kfreeSkbListMem,
  kfreeSkbMem,
  pskbCopy,
  pskbExpandHead,
  pskbPullTail,
  pskbTrim,
  skbChecksum,
  skbClone,
  skbCopy,
  skbCopyAndCsumBits,
  skbCopyBits,
  skbCopyExpand,
  skbMorph,
  skbReleaseData,
  skbShift,
  skbSplit,
  skbStoreBits,
  skbTryCoalesce,
} from "./net/core/skbuff";
