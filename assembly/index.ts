// The exports of the module, nothing else.

export { layoutHash } from "./layout";
export { allocPage, bufferSize, drainReturned, getPage, inUse, mmInit, pageRefs, putPage } from "./mm/slab";
export { allocSkb, kfreeSkbListMem, kfreeSkbMem, skbClone, skbReleaseData } from "./net/core/skbuff";
