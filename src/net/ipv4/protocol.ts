/** inet_protos[]: who takes an IPv4 packet that was addressed to this host, by protocol number. */

/** struct net_protocol. */
export interface NetProtocol {
  /** The C symbol of the table, for the trace: "tcp_protocol". */
  readonly symbol: string;
  /**
   * Consumes the skb; data starts at the transport header. 0, or -n to have it delivered again as protocol n
   * (an encapsulation was taken off).
   */
  handler(skb: number): number;
  /**
   * An ICMP error quotes a packet of this protocol. data starts at the quoted IP header, of which all of the header and
   * 8 bytes behind it can be read; the skb stays the caller's. `info`: next hop MTU of ICMP_FRAG_NEEDED, else 0.
   */
  errHandler?(skb: number, info: number): number;
  /**
   * Finds the socket before the route is looked up, and with it the route: sets skb->sk and the dst, or does nothing.
   * The IP header is linear and right; what follows it is unchecked, and the packet is no fragment.
   */
  earlyDemux?(skb: number): void;
  /**
   * ICMP_FRAG_NEEDED for this protocol is only believed after the quote was matched to a socket (ip_no_pmtu_disc 3).
   */
  readonly icmpStrictTagValidation?: boolean;
}

export const MAX_INET_PROTOS = 256;

/** One table a process: it holds code only. */
export const inetProtos: (NetProtocol | null)[] = newTable();

function newTable(): (NetProtocol | null)[] {
  const table: (NetProtocol | null)[] = [];
  for (let i = 0; i < MAX_INET_PROTOS; i++) table.push(null);
  return table;
}

/**
 * inet_add_protocol. 0, or -1 if another one has the number. Adding the same table again does nothing, so that several
 * machines of one process may each run their inet_init.
 */
export function inetAddProtocol(protocol: number, prot: NetProtocol): number {
  const old = inetProtos[protocol];
  if (old !== null && old !== prot) return -1;
  inetProtos[protocol] = prot;
  return 0;
}

/** inet_del_protocol. 0, or -1 if `prot` does not stand there. */
export function inetDelProtocol(protocol: number, prot: NetProtocol): number {
  if (inetProtos[protocol] !== prot) return -1;
  inetProtos[protocol] = null;
  return 0;
}
