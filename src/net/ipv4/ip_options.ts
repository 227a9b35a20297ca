/**
 * IP options (RFC 791 §3.1, RFC 1122 §3.2.1.8, RFC 1812 §5.2.4): compiled once into offsets, echoed, and updated while
 * a packet is forwarded. Compiled options of a packet stand in its IPCB, those of a socket or request in an
 * `IpOptions`; both hold offsets from the start of the IP header.
 */

import {
  IPCB_CIPSO,
  IPCB_NEXTHOP,
  IPCB_OPT_FLAGS,
  IPCB_OPTLEN,
  IPCB_ROUTER_ALERT,
  IPCB_RR,
  IPCB_SRR,
  IPCB_TS,
  PACKET_HOST,
} from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { skbPktType } from "../../mm/skb.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { ICMP_PARAMETERPROB } from "../../uapi/icmp.ts";
import {
  IPOPT_CIPSO,
  IPOPT_COPY,
  IPOPT_END,
  IPOPT_LSRR,
  IPOPT_NOOP,
  IPOPT_RA,
  IPOPT_RR,
  IPOPT_SSRR,
  IPOPT_TIMESTAMP,
  IPOPT_TS_PRESPEC,
  IPOPT_TS_TSANDADDR,
  IPOPT_TS_TSONLY,
  MAX_IPOPTLEN,
} from "../../uapi/ip.ts";
import { RT_SCOPE_UNIVERSE, RTN_LOCAL, RTN_UNICAST } from "../../uapi/rtnetlink.ts";
import type { NetDevice } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";
import { skbDst, skbDstSet } from "../core/skbuff.ts";
import { inetSelectAddr } from "./devinet.ts";
import { fibComputeSpecDst, inetAddrType } from "./fib_frontend.ts";
import { icmpSend } from "./icmp.ts";
import {
  IPHDR_SIZE,
  ipHdr,
  ipHdrDaddr,
  ipHdrSaddr,
  ipHdrSetDaddr,
  ipHdrTos,
  ipSendCheck,
  OPT_IS_CHANGED,
  OPT_IS_STRICTROUTE,
  OPT_RR_NEEDADDR,
  OPT_SRR_IS_HIT,
  OPT_TS_NEEDADDR,
  OPT_TS_NEEDTIME,
} from "./ip.ts";
import { IpOptions } from "./ip_opt.ts";
import type { Rtable } from "./route.ts";
import { ipRouteInput, rtIsOutputRoute, rtNexthop } from "./route.ts";

function ipOptionsReset(opt: IpOptions): void {
  opt.faddr = 0;
  opt.optlen = 0;
  opt.srr = 0;
  opt.rr = 0;
  opt.ts = 0;
  opt.routerAlert = 0;
  opt.cipso = 0;
  opt.flags = 0;
}

export { IpOptions };

/** Options of the packet at hand, while they are compiled. */
const rcvOpt = new IpOptions();

/** inet_current_timestamp: milliseconds since midnight UT (RFC 791 §3.1, RFC 792 timestamp). */
export function inetCurrentTimestamp(): number {
  return Math.floor(kernel.clock.realtime() / 1000) % 86_400_000;
}

function getAddr(buf: Uint8Array, i: number): number {
  return ((buf[i] << 24) | (buf[i + 1] << 16) | (buf[i + 2] << 8) | buf[i + 3]) >>> 0;
}
function putAddr(buf: Uint8Array, i: number, addr: number): void {
  buf[i] = addr >>> 24;
  buf[i + 1] = addr >>> 16;
  buf[i + 2] = addr >>> 8;
  buf[i + 3] = addr;
}
function moveBytes(buf: Uint8Array, to: number, from: number, len: number): void {
  buf.copyWithin(to, from, from + len);
}

/** ip_rt_get_source: the address that a router writes into a packet that leaves by `rt`. */
function ipRtGetSource(buf: Uint8Array, i: number, skb: number, rt: Rtable): void {
  const iph = ipHdr(skb);
  const src = rtIsOutputRoute(rt)
    ? ipHdrSaddr(iph)
    : inetSelectAddr(rt.dev, rtNexthop(rt, ipHdrDaddr(iph)), RT_SCOPE_UNIVERSE);
  putAddr(buf, i, src);
}

/**
 * ip_options_build: writes the options behind the header of a packet that leaves, and their state into its IPCB.
 * The header's addresses must stand. `daddr`: the final destination, which a source route ends with.
 */
export function ipOptionsBuild(skb: number, opt: IpOptions, daddr: number, rt: Rtable): void {
  const iph = ipHdr(skb);
  for (let i = 0; i < opt.optlen; i++) u8[iph + IPHDR_SIZE + i] = opt.data[i];
  u8[skb + IPCB_OPTLEN] = opt.optlen;
  u8[skb + IPCB_SRR] = opt.srr;
  u8[skb + IPCB_RR] = opt.rr;
  u8[skb + IPCB_TS] = opt.ts;
  u8[skb + IPCB_ROUTER_ALERT] = opt.routerAlert;
  u8[skb + IPCB_OPT_FLAGS] = opt.flags;
  u8[skb + IPCB_CIPSO] = opt.cipso;
  u32[(skb + IPCB_NEXTHOP) >>> 2] = 0;

  if (opt.srr !== 0) putAddr(u8, iph + opt.srr + u8[iph + opt.srr + 1] - 4, daddr);
  if ((opt.flags & OPT_RR_NEEDADDR) !== 0) ipRtGetSource(u8, iph + opt.rr + u8[iph + opt.rr + 2] - 5, skb, rt);
  if ((opt.flags & OPT_TS_NEEDADDR) !== 0) ipRtGetSource(u8, iph + opt.ts + u8[iph + opt.ts + 2] - 9, skb, rt);
  if ((opt.flags & OPT_TS_NEEDTIME) !== 0) {
    putAddr(u8, iph + opt.ts + u8[iph + opt.ts + 2] - 5, inetCurrentTimestamp());
  }
}

/**
 * ip_options_echo: the options with which a packet is answered: route and timestamps recorded on, a source route turned
 * around (RFC 1122 §3.2.1.8). Reads the compiled options of `skb`. 0 or -EINVAL.
 */
export function ipOptionsEcho(net: Net, dopt: IpOptions, skb: number): number {
  ipOptionsReset(dopt);
  if (u8[skb + IPCB_OPTLEN] === 0) return 0;
  const sptr = ipHdr(skb);
  const srr = u8[skb + IPCB_SRR];
  const rr = u8[skb + IPCB_RR];
  const ts = u8[skb + IPCB_TS];
  const flags = u8[skb + IPCB_OPT_FLAGS];
  const d = dopt.data;
  let dptr = 0;

  if (rr !== 0) {
    const optlen = u8[sptr + rr + 1];
    const soffset = u8[sptr + rr + 2];
    dopt.rr = dopt.optlen + IPHDR_SIZE;
    for (let i = 0; i < optlen; i++) d[dptr + i] = u8[sptr + rr + i];
    if ((flags & OPT_RR_NEEDADDR) !== 0 && soffset <= optlen) {
      if (soffset + 3 > optlen) return -EINVAL;
      d[dptr + 2] = soffset + 4;
      dopt.flags |= OPT_RR_NEEDADDR;
    }
    dptr += optlen;
    dopt.optlen += optlen;
  }

  if (ts !== 0) {
    const optlen = u8[sptr + ts + 1];
    let soffset = u8[sptr + ts + 2];
    dopt.ts = dopt.optlen + IPHDR_SIZE;
    for (let i = 0; i < optlen; i++) d[dptr + i] = u8[sptr + ts + i];
    if (soffset <= optlen) {
      if ((flags & OPT_TS_NEEDADDR) !== 0) {
        if (soffset + 3 > optlen) return -EINVAL;
        dopt.flags |= OPT_TS_NEEDADDR;
        soffset += 4;
      }
      if ((flags & OPT_TS_NEEDTIME) !== 0) {
        if (soffset + 3 > optlen) return -EINVAL;
        if ((d[dptr + 3] & 0xf) !== IPOPT_TS_PRESPEC) {
          dopt.flags |= OPT_TS_NEEDTIME;
          soffset += 4;
        } else if (soffset + 7 <= optlen && inetAddrType(net, getAddr(d, dptr + soffset - 1)) !== RTN_UNICAST) {
          dopt.flags |= OPT_TS_NEEDTIME;
          soffset += 8;
        }
      }
      d[dptr + 2] = soffset;
    }
    dptr += optlen;
    dopt.optlen += optlen;
  }

  if (srr !== 0) {
    const start = sptr + srr;
    const optlen = u8[start + 1];
    let soffset = u8[start + 2];
    let doffset = 0;
    let faddr = 0;
    // The hops that were passed, last one first; the pointer tells how many.
    if (soffset > optlen) soffset = optlen + 1;
    soffset -= 4;
    if (soffset > 3) {
      faddr = getAddr(u8, start + soffset - 1);
      for (soffset -= 4, doffset = 4; soffset > 3; soffset -= 4, doffset += 4) {
        for (let i = 0; i < 4; i++) d[dptr + doffset - 1 + i] = u8[start + soffset - 1 + i];
      }
      // RFC 1812 §5.3.13.4: a recorded route that ends with the sender itself is fixed.
      if (ipHdrSaddr(sptr) === getAddr(u8, start + soffset + 3)) doffset -= 4;
    }
    if (doffset > 3) {
      dopt.faddr = faddr;
      d[dptr] = u8[start];
      d[dptr + 1] = doffset + 3;
      d[dptr + 2] = 4;
      dptr += doffset + 3;
      dopt.srr = dopt.optlen + IPHDR_SIZE;
      dopt.optlen += doffset + 3;
      dopt.flags |= flags & OPT_IS_STRICTROUTE;
    }
  }

  const cipso = u8[skb + IPCB_CIPSO];
  if (cipso !== 0) {
    const optlen = u8[sptr + cipso + 1];
    dopt.cipso = dopt.optlen + IPHDR_SIZE;
    for (let i = 0; i < optlen; i++) d[dptr + i] = u8[sptr + cipso + i];
    dptr += optlen;
    dopt.optlen += optlen;
  }

  while ((dopt.optlen & 3) !== 0) {
    d[dptr++] = IPOPT_END;
    dopt.optlen++;
  }
  return 0;
}

/** ip_options_fragment: options without the copied flag are for the first fragment only (RFC 791 §3.1). */
export function ipOptionsFragment(skb: number): void {
  let p = ipHdr(skb) + IPHDR_SIZE;
  let l = u8[skb + IPCB_OPTLEN];
  while (l > 0) {
    const type = u8[p];
    if (type === IPOPT_END) return;
    if (type === IPOPT_NOOP) {
      l--;
      p++;
      continue;
    }
    const optlen = u8[p + 1];
    if (optlen < 2 || optlen > l) return;
    if ((type & IPOPT_COPY) === 0) u8.fill(IPOPT_NOOP, p, p + optlen);
    l -= optlen;
    p += optlen;
  }
  u8[skb + IPCB_TS] = 0;
  u8[skb + IPCB_RR] = 0;
  u8[skb + IPCB_OPT_FLAGS] &= ~(OPT_RR_NEEDADDR | OPT_TS_NEEDADDR | OPT_TS_NEEDTIME);
}

/**
 * __ip_options_compile: checks `opt.optlen` bytes of options that start at buf[iph + 20] and fills in `opt`.
 * `skb` is the received packet that they stand in: addresses and times are recorded in it on the way; 0 for options
 * that a user sets, who may do what CAP_NET_RAW may. 0, or -(offset + 1) of the byte that is wrong, for ICMP's
 * pointer.
 */
function __ipOptionsCompile(net: Net, opt: IpOptions, buf: Uint8Array, iph: number, skb: number): number {
  const rt = skb !== 0 ? (skbDst(skb) as Rtable | null) : null;
  let specDst = 0;
  let haveSpecDst = false;
  let p = iph + IPHDR_SIZE;
  let l = opt.optlen;
  while (l > 0) {
    const type = buf[p];
    if (type === IPOPT_END) {
      // Whatever follows the end is padding, and made such.
      for (p++, l--; l > 0; p++, l--) {
        if (buf[p] !== IPOPT_END) {
          buf[p] = IPOPT_END;
          opt.flags |= OPT_IS_CHANGED;
        }
      }
      break;
    }
    if (type === IPOPT_NOOP) {
      l--;
      p++;
      continue;
    }
    const at = p - iph;
    if (l < 2) return -at - 1;
    const optlen = buf[p + 1];
    if (optlen < 2 || optlen > l) return -at - 1;
    switch (type) {
      case IPOPT_SSRR:
      case IPOPT_LSRR:
        if (optlen < 3) return -at - 2;
        if (buf[p + 2] < 4) return -at - 3;
        // RFC 1812 §5.3.13.4: only one source route.
        if (opt.srr !== 0) return -at - 1;
        if (skb === 0) {
          if (buf[p + 2] !== 4 || optlen < 7 || ((optlen - 3) & 3) !== 0) return -at - 2;
          opt.faddr = getAddr(buf, p + 3);
          // The first hop becomes the destination; the destination is appended when the packet is built.
          if (optlen > 7) moveBytes(buf, p + 3, p + 7, optlen - 7);
        }
        if (type === IPOPT_SSRR) opt.flags |= OPT_IS_STRICTROUTE;
        opt.srr = at;
        break;
      case IPOPT_RR:
        if (opt.rr !== 0) return -at - 1;
        if (optlen < 3) return -at - 2;
        if (buf[p + 2] < 4) return -at - 3;
        if (buf[p + 2] <= optlen) {
          if (buf[p + 2] + 3 > optlen) return -at - 3;
          if (rt !== null) {
            if (!haveSpecDst) {
              specDst = fibComputeSpecDst(skb);
              haveSpecDst = true;
            }
            putAddr(buf, p + buf[p + 2] - 1, specDst);
            opt.flags |= OPT_IS_CHANGED;
          }
          buf[p + 2] += 4;
          opt.flags |= OPT_RR_NEEDADDR;
        }
        opt.rr = at;
        break;
      case IPOPT_TIMESTAMP: {
        if (opt.ts !== 0) return -at - 1;
        if (optlen < 4) return -at - 2;
        if (buf[p + 2] < 5) return -at - 3;
        if (buf[p + 2] <= optlen) {
          let timeptr = -1;
          if (buf[p + 2] + 3 > optlen) return -at - 3;
          switch (buf[p + 3] & 0xf) {
            case IPOPT_TS_TSONLY:
              if (skb !== 0) timeptr = p + buf[p + 2] - 1;
              opt.flags |= OPT_TS_NEEDTIME;
              buf[p + 2] += 4;
              break;
            case IPOPT_TS_TSANDADDR:
              if (buf[p + 2] + 7 > optlen) return -at - 3;
              if (rt !== null) {
                if (!haveSpecDst) {
                  specDst = fibComputeSpecDst(skb);
                  haveSpecDst = true;
                }
                putAddr(buf, p + buf[p + 2] - 1, specDst);
                timeptr = p + buf[p + 2] + 3;
              }
              opt.flags |= OPT_TS_NEEDADDR | OPT_TS_NEEDTIME;
              buf[p + 2] += 8;
              break;
            case IPOPT_TS_PRESPEC:
              if (buf[p + 2] + 7 > optlen) return -at - 3;
              // Only the hosts that are named write their time.
              if (inetAddrType(net, getAddr(buf, p + buf[p + 2] - 1)) === RTN_UNICAST) break;
              if (skb !== 0) timeptr = p + buf[p + 2] + 3;
              opt.flags |= OPT_TS_NEEDTIME;
              buf[p + 2] += 8;
              break;
            default:
              break;
          }
          if (timeptr >= 0) {
            putAddr(buf, timeptr, inetCurrentTimestamp());
            opt.flags |= OPT_IS_CHANGED;
          }
        } else if ((buf[p + 3] & 0xf) !== IPOPT_TS_PRESPEC) {
          // Full: count who could not register; 15 is the counter's end (RFC 791: the datagram is discarded then).
          const overflow = buf[p + 3] >>> 4;
          if (overflow === 15) return -at - 4;
          if (skb !== 0) {
            buf[p + 3] = (buf[p + 3] & 0xf) | ((overflow + 1) << 4);
            opt.flags |= OPT_IS_CHANGED;
          }
        }
        opt.ts = at;
        break;
      }
      case IPOPT_RA:
        if (optlen < 4) return -at - 2;
        if (buf[p + 2] === 0 && buf[p + 3] === 0) opt.routerAlert = at;
        break;
      case IPOPT_CIPSO:
        if (opt.cipso !== 0) return -at - 1;
        opt.cipso = at;
        // cipso_v4_validate, on a host that knows no domain of interpretation: the length is wrong, or the domain.
        return optlen < 8 ? -at - 2 : -at - 3;
      default:
        break;
    }
    l -= optlen;
    p += optlen;
  }
  return 0;
}

/**
 * ip_options_compile of a received packet, whose header must be writable: fills the IPCB. Bad options are answered with
 * ICMP parameter problem, its pointer at the byte that is wrong (RFC 1122 §3.2.2.5). 0 or -EINVAL; keeps the skb.
 */
export function ipOptionsCompile(net: Net, skb: number): number {
  const iph = ipHdr(skb);
  ipOptionsReset(rcvOpt);
  rcvOpt.optlen = ((u8[iph] & 15) << 2) - IPHDR_SIZE;
  const ret = __ipOptionsCompile(net, rcvOpt, u8, iph, skb);
  u8[skb + IPCB_OPTLEN] = rcvOpt.optlen;
  u8[skb + IPCB_SRR] = rcvOpt.srr;
  u8[skb + IPCB_RR] = rcvOpt.rr;
  u8[skb + IPCB_TS] = rcvOpt.ts;
  u8[skb + IPCB_ROUTER_ALERT] = rcvOpt.routerAlert;
  u8[skb + IPCB_OPT_FLAGS] = rcvOpt.flags;
  u8[skb + IPCB_CIPSO] = rcvOpt.cipso;
  u32[(skb + IPCB_NEXTHOP) >>> 2] = 0;
  if (ret < 0) {
    icmpSend(skb, ICMP_PARAMETERPROB, 0, ((-ret - 1) << 24) >>> 0);
    return -EINVAL;
  }
  return 0;
}

/** ip_options_get: the compiled form of options that a user gives. Null if they are wrong or longer than 40 bytes. */
export function ipOptionsGet(net: Net, data: Uint8Array): IpOptions | null {
  if (data.length > MAX_IPOPTLEN) return null;
  const opt = new IpOptions();
  opt.data.set(data);
  opt.optlen = data.length;
  while ((opt.optlen & 3) !== 0) opt.data[opt.optlen++] = IPOPT_END;
  if (opt.optlen !== 0 && __ipOptionsCompile(net, opt, opt.data, -IPHDR_SIZE, 0) < 0) return null;
  return opt;
}

/** ip_options_undo: the options as their user gave them (getsockopt). */
export function ipOptionsUndo(opt: IpOptions): Uint8Array {
  const d = opt.data.slice(0, opt.optlen);
  if (opt.srr !== 0) {
    const p = opt.srr - IPHDR_SIZE;
    moveBytes(d, p + 7, p + 3, d[p + 1] - 7);
    putAddr(d, p + 3, opt.faddr);
  }
  if ((opt.flags & OPT_RR_NEEDADDR) !== 0) {
    const p = opt.rr - IPHDR_SIZE;
    d[p + 2] -= 4;
    putAddr(d, p + d[p + 2] - 1, 0);
  }
  if (opt.ts !== 0) {
    const p = opt.ts - IPHDR_SIZE;
    if ((opt.flags & OPT_TS_NEEDTIME) !== 0) {
      d[p + 2] -= 4;
      putAddr(d, p + d[p + 2] - 1, 0);
      if ((d[p + 3] & 0xf) === IPOPT_TS_PRESPEC) d[p + 2] -= 4;
    }
    if ((opt.flags & OPT_TS_NEEDADDR) !== 0) {
      d[p + 2] -= 4;
      putAddr(d, p + d[p + 2] - 1, 0);
    }
  }
  return d;
}

/** ip_forward_options: this host's marks in the options of a packet that it forwards. The header must be writable. */
export function ipForwardOptions(skb: number): void {
  const rt = skbDst(skb) as Rtable;
  const iph = ipHdr(skb);
  let flags = u8[skb + IPCB_OPT_FLAGS];
  if ((flags & OPT_RR_NEEDADDR) !== 0) {
    const p = iph + u8[skb + IPCB_RR];
    ipRtGetSource(u8, p + u8[p + 2] - 5, skb, rt);
    flags |= OPT_IS_CHANGED;
  }
  if ((flags & OPT_SRR_IS_HIT) !== 0) {
    const p = iph + u8[skb + IPCB_SRR];
    const nexthop = u32[(skb + IPCB_NEXTHOP) >>> 2];
    const srrspace = u8[p + 1];
    let srrptr = u8[p + 2];
    for (; srrptr + 3 <= srrspace; srrptr += 4) if (getAddr(u8, p + srrptr - 1) === nexthop) break;
    if (srrptr + 3 <= srrspace) {
      flags |= OPT_IS_CHANGED;
      ipHdrSetDaddr(iph, nexthop);
      ipRtGetSource(u8, p + srrptr - 1, skb, rt);
      u8[p + 2] = srrptr + 4;
    }
    if ((flags & OPT_TS_NEEDADDR) !== 0) {
      const t = iph + u8[skb + IPCB_TS];
      ipRtGetSource(u8, t + u8[t + 2] - 9, skb, rt);
      flags |= OPT_IS_CHANGED;
    }
  }
  if ((flags & OPT_IS_CHANGED) !== 0) {
    flags &= ~OPT_IS_CHANGED;
    ipSendCheck(iph);
  }
  u8[skb + IPCB_OPT_FLAGS] = flags;
}

/**
 * ip_options_rcv_srr: a source-routed packet arrived at one of its hops: routes it on to the next. Sets srr_is_hit and
 * the next hop in the IPCB. 0, or -EINVAL (the packet is to be dropped); keeps the skb.
 */
export function ipOptionsRcvSrr(skb: number, dev: NetDevice): number {
  let rt = skbDst(skb) as Rtable;
  const iph = ipHdr(skb);
  if (skbPktType(skb) !== PACKET_HOST) return -EINVAL;
  if (rt.rtType === RTN_UNICAST) {
    if ((u8[skb + IPCB_OPT_FLAGS] & OPT_IS_STRICTROUTE) === 0) return 0;
    // Strict, and this host isn't the hop that it names: the destination address (byte 16) is the problem.
    icmpSend(skb, ICMP_PARAMETERPROB, 0, 16 << 24);
    return -EINVAL;
  }
  if (rt.rtType !== RTN_LOCAL) return -EINVAL;

  const srr = u8[skb + IPCB_SRR];
  const p = iph + srr;
  const srrspace = u8[p + 1];
  let srrptr = u8[p + 2];
  let nexthop = 0;
  for (; srrptr <= srrspace; srrptr += 4) {
    if (srrptr + 3 > srrspace) {
      icmpSend(skb, ICMP_PARAMETERPROB, 0, ((srr + 2) << 24) >>> 0);
      return -EINVAL;
    }
    nexthop = getAddr(u8, p + srrptr - 1);
    skbDstSet(skb, null);
    const err = ipRouteInput(skb, nexthop, ipHdrSaddr(iph), ipHdrTos(iph), dev);
    const rt2 = skbDst(skb) as Rtable | null;
    if (err !== 0 || rt2 === null || (rt2.rtType !== RTN_UNICAST && rt2.rtType !== RTN_LOCAL)) {
      skbDstSet(skb, rt);
      return -EINVAL;
    }
    rt = rt2;
    if (rt2.rtType !== RTN_LOCAL) break;
    // The next hop is this host as well.
    dv.setUint32(iph + 16, nexthop);
    u8[skb + IPCB_OPT_FLAGS] |= OPT_IS_CHANGED;
  }
  if (srrptr <= srrspace) {
    u8[skb + IPCB_OPT_FLAGS] |= OPT_SRR_IS_HIT | OPT_IS_CHANGED;
    u32[(skb + IPCB_NEXTHOP) >>> 2] = nexthop;
  }
  return 0;
}
