/** What is remembered of other hosts (net/ipv4/inetpeer.c): counters that must outlive a route. */

import { kernel } from "../../kernel/kernel.ts";
import type { Net } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";

/** Peers that a namespace keeps; beyond that the oldest go (inet_peer_threshold). */
const INET_PEER_THRESHOLD = 65536 + 128;
/** Messages of one kind that may go to a host at once before the rate limit bites. */
const XRLIM_BURST_FACTOR = 6;

/** struct inet_peer. */
export class InetPeer {
  readonly daddr: number;
  /** Fragments received from the host, counting those of all its datagrams (ip_frag_too_far). */
  rid = 0;
  /** The token bucket of ICMP errors to it: milliseconds saved up, and when (jiffies) it was last looked at. */
  rateTokens = 0;
  rateLast: number;
  /** Redirects sent to it without effect (ip_rt_send_redirect). */
  nRedirects = 0;

  constructor(daddr: number) {
    this.daddr = daddr;
    // As if nothing had been sent for a minute.
    this.rateLast = kernel.jiffies - 60_000;
  }
}

/** struct inet_peer_base. */
export class InetPeerBase {
  readonly peers: Map<number, InetPeer> = new Map();
}

declare module "../core/net_namespace.ts" {
  interface Net {
    ipPeers: InetPeerBase;
  }
}

/** inet_getpeer_v4: the peer, made if need be. */
export function inetGetpeerV4(net: Net, daddr: number): InetPeer {
  const peers = net.ipPeers.peers;
  let peer = peers.get(daddr);
  if (peer !== undefined) return peer;
  if (peers.size >= INET_PEER_THRESHOLD) {
    const oldest = peers.keys().next();
    if (oldest.done !== true) peers.delete(oldest.value);
  }
  peer = new InetPeer(daddr);
  peers.set(daddr, peer);
  return peer;
}

/**
 * inet_peer_xrlim_allow: may one more message go to the peer? `timeout`: milliseconds that a message costs; a host that
 * was left alone for long may get six in a row.
 */
export function inetPeerXrlimAllow(peer: InetPeer, timeout: number): boolean {
  const now = kernel.jiffies;
  let token = peer.rateTokens;
  const delta = now - peer.rateLast;
  if (delta !== 0) {
    peer.rateLast = now;
    token = Math.min(token + delta, XRLIM_BURST_FACTOR * timeout);
  }
  const rc = token >= timeout;
  if (rc) token -= timeout;
  peer.rateTokens = token;
  return rc;
}

const inetPeerNetOps = {
  name: "inetpeer",
  init(net: Net): number {
    net.ipPeers = new InetPeerBase();
    return 0;
  },
  exit(net: Net): void {
    net.ipPeers.peers.clear();
  },
};

/** inet_initpeers: run by ip_init. */
export function inetInitpeers(): void {
  registerPernetSubsys(inetPeerNetOps);
}
