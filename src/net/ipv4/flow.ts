/** struct flowi4: the key of a route lookup. Addresses and ports in host order. */
export class FlowI4 {
  flowi4Oif = 0;
  flowi4Iif = 0;
  flowi4Mark = 0;
  flowi4Tos = 0;
  flowi4Scope = 0;
  flowi4Proto = 0;
  /** FLOWI_FLAG_ANYSRC = 1, FLOWI_FLAG_KNOWN_NH = 2. */
  flowi4Flags = 0;
  saddr = 0;
  daddr = 0;
  fl4Sport = 0;
  fl4Dport = 0;
  fl4IcmpType = 0;
  fl4IcmpCode = 0;
}

export const FLOWI_FLAG_ANYSRC = 1;
export const FLOWI_FLAG_KNOWN_NH = 2;

/** flowi4_init_output: fills `fl` in place, so that a lookup makes no garbage. */
export function flowi4InitOutput(
  fl: FlowI4,
  oif: number,
  mark: number,
  tos: number,
  scope: number,
  proto: number,
  flags: number,
  daddr: number,
  saddr: number,
  dport: number,
  sport: number,
): void {
  fl.flowi4Oif = oif;
  fl.flowi4Iif = 1;
  fl.flowi4Mark = mark;
  fl.flowi4Tos = tos;
  fl.flowi4Scope = scope;
  fl.flowi4Proto = proto;
  fl.flowi4Flags = flags;
  fl.daddr = daddr;
  fl.saddr = saddr;
  fl.fl4Dport = dport;
  fl.fl4Sport = sport;
  fl.fl4IcmpType = 0;
  fl.fl4IcmpCode = 0;
}
