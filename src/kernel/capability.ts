/** Capabilities (linux/capability.h). A host's only user is root: it has all of them, unless some were dropped. */

export const CAP_NET_BIND_SERVICE = 10;
export const CAP_NET_BROADCAST = 11;
export const CAP_NET_ADMIN = 12;
export const CAP_NET_RAW = 13;

/** Whoever holds a set of dropped capabilities: struct net. */
export interface HasCaps {
  /** CAP_* that this host's programs do not have. */
  readonly capsDropped: Set<number>;
}

/** ns_capable. */
export function nsCapable(ns: HasCaps, cap: number): boolean {
  return ns.capsDropped.size === 0 || !ns.capsDropped.has(cap);
}
