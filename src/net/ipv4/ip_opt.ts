/** struct ip_options. A file of its own, that imports no function: others make instances while they are loaded. */

import { MAX_IPOPTLEN } from "../../uapi/ip.ts";

/** struct ip_options of a socket or a request: the bytes as they go out, and where in them what stands. */
export class IpOptions {
  /** The first hop of a source route; 0 = none. It isn't among the bytes: the packet's destination is the first hop. */
  faddr = 0;
  /** Bytes in use of `data`, a multiple of 4. */
  optlen = 0;
  /** Offsets from the start of the IP header, so that the first byte of `data` is 20; 0 = absent. */
  srr = 0;
  rr = 0;
  ts = 0;
  routerAlert = 0;
  cipso = 0;
  /** OPT_*. */
  flags = 0;
  readonly data: Uint8Array = new Uint8Array(MAX_IPOPTLEN);

  get isStrictroute(): boolean {
    return (this.flags & 1) !== 0 /* OPT_IS_STRICTROUTE */;
  }
}
