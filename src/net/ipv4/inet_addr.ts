/** linux/in.h: kinds of IPv4 addresses, and masks. Addresses in host order. */

export const INADDR_ANY = 0;
export const INADDR_LOOPBACK = 0x7f000001;
export const INADDR_BROADCAST = 0xffffffff;
/** 224.0.0.1: all hosts of the link. */
export const INADDR_ALLHOSTS_GROUP = 0xe0000001;

/** inet_make_mask: the netmask of a prefix of `len` bits. */
export function maskOf(len: number): number {
  return len === 0 ? 0 : (0xffffffff << (32 - len)) >>> 0;
}
/** inet_mask_len: the length of a netmask; -1 if its ones are not all in front. */
export function maskLen(mask: number): number {
  const rest = ~mask >>> 0;
  return (rest & (rest + 1)) === 0 ? Math.clz32(rest) : -1;
}
/** ipv4_is_loopback: 127/8. */
export function ipv4IsLoopback(addr: number): boolean {
  return addr >>> 24 === 127;
}
/** ipv4_is_multicast: 224/4. */
export function ipv4IsMulticast(addr: number): boolean {
  return addr >>> 28 === 14;
}
/** ipv4_is_local_multicast: 224.0.0/24 never leaves its link. */
export function ipv4IsLocalMulticast(addr: number): boolean {
  return addr >>> 8 === 0xe00000;
}
/** ipv4_is_lbcast. */
export function ipv4IsLbcast(addr: number): boolean {
  return addr >>> 0 === 0xffffffff;
}
/** ipv4_is_zeronet: 0.0.0.0 alone, since 0/8 may be used (draft-schoen-intarea-unicast-0). */
export function ipv4IsZeronet(addr: number): boolean {
  return addr === 0;
}
/** inet_ifa_match: `addr` is in the subnet of the address. */
export function ifaMatch(addr: number, ifa: { readonly ifaAddress: number; readonly ifaMask: number }): boolean {
  return ((addr ^ ifa.ifaAddress) & ifa.ifaMask) === 0;
}
/** "10.0.0.1". */
export function inetNtoa(addr: number): string {
  return `${addr >>> 24}.${(addr >>> 16) & 255}.${(addr >>> 8) & 255}.${addr & 255}`;
}
/** inet_pton(AF_INET): four decimal numbers; -1 if it is no such address. */
export function inetAton(text: string): number {
  const m = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (m === null) return -1;
  let addr = 0;
  for (let i = 1; i <= 4; i++) {
    const part = m[i] as string;
    const n = Number(part);
    if (n > 255 || (part.length > 1 && part.startsWith("0"))) return -1;
    addr = addr * 256 + n;
  }
  return addr;
}
