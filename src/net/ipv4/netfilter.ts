/** IPv4's part of netfilter: the route of a packet that hooks have changed. */

import { skbHeadroom, skbMark } from "../../mm/skb.ts";
import { ENOMEM } from "../../uapi/errno.ts";
import { NFPROTO_IPV4 } from "../../uapi/netfilter.ts";
import { RT_SCOPE_UNIVERSE, RTN_LOCAL, RTN_UNICAST, RTN_UNSPEC } from "../../uapi/rtnetlink.ts";
import type { DstEntry } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import { pskbExpandHead, skbDst, skbDstSet } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import type { NfRerouteOps, NfRouteKey } from "../netfilter/core.ts";
import { nfRegisterReroute } from "../netfilter/core.ts";
import { inetAddrTypeDevTable } from "./fib_frontend.ts";
import { FLOWI_FLAG_ANYSRC, FlowI4, flowi4InitOutput } from "./flow.ts";
import { INET_DSCP_MASK, inetSkFlowiFlags, ipHdr, ipHdrDaddr, ipHdrSaddr, ipHdrTos } from "./ip.ts";
import { LL_RESERVED_SPACE } from "./ip_output.ts";
import { ipRouteOutputKey, routeErr } from "./route.ts";

const harderFl4 = new FlowI4();

/**
 * ip_route_me_harder: routes a packet of this host again, by what stands in its header now. `addrType`: RTN_* of its
 * source, RTN_UNSPEC = find out. 0 or a negative errno; keeps the skb.
 */
export function ipRouteMeHarder(net: Net, sk: Sock | null, skb: number, addrType: number): number {
  const iph = ipHdr(skb);
  const old = skbDst(skb) as DstEntry;
  let saddr = ipHdrSaddr(iph);
  let flags = sk !== null ? inetSkFlowiFlags(sk) : 0;
  if (addrType === RTN_UNSPEC) addrType = inetAddrTypeDevTable(net, old.dev, saddr);
  if (addrType === RTN_LOCAL || addrType === RTN_UNICAST) flags |= FLOWI_FLAG_ANYSRC;
  else saddr = 0;
  flowi4InitOutput(
    harderFl4,
    sk !== null ? sk.skcBoundDevIf : 0,
    skbMark(skb),
    ipHdrTos(iph) & INET_DSCP_MASK,
    RT_SCOPE_UNIVERSE,
    0,
    flags,
    ipHdrDaddr(iph),
    saddr,
    0,
    0,
  );
  const rt = ipRouteOutputKey(net, harderFl4);
  if (rt === null) return routeErr.value;
  skbDstSet(skb, rt);
  if (rt.error !== 0) return rt.error;
  const need = LL_RESERVED_SPACE(rt.dev) - skbHeadroom(skb);
  return need > 0 && pskbExpandHead(skb, (need + 15) & ~15, 0) !== 0 ? -ENOMEM : 0;
}

const ipRerouteOps: NfRerouteOps = {
  family: NFPROTO_IPV4,
  save(skb: number, key: NfRouteKey): void {
    const iph = ipHdr(skb);
    key.saddr = ipHdrSaddr(iph);
    key.daddr = ipHdrDaddr(iph);
    key.tos = ipHdrTos(iph);
    key.mark = skbMark(skb);
  },
  reroute(net: Net, sk: Sock | null, skb: number, key: NfRouteKey): number {
    const iph = ipHdr(skb);
    if (
      key.saddr === ipHdrSaddr(iph) &&
      key.daddr === ipHdrDaddr(iph) &&
      key.tos === ipHdrTos(iph) &&
      key.mark === skbMark(skb)
    ) {
      return 0;
    }
    return ipRouteMeHarder(net, sk, skb, RTN_UNSPEC);
  },
};

/** ipv4_netfilter_init: run by ip_init. */
export function ipv4NetfilterInit(): void {
  nfRegisterReroute(ipRerouteOps);
}
