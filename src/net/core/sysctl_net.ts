/**
 * Registration of `/proc/sys` names: which field of which object a name reads and writes, and within which bounds. The
 * parsing is proc_dointvec's: whitespace around numbers is ignored, "0x10" and "010" are hexadecimal and octal, a vector
 * may be written in part, and a value out of bounds changes nothing and answers -EINVAL.
 */

import { EINVAL, EPERM } from "../../uapi/errno.ts";
import type { Net, SysctlEntry } from "./net_namespace.ts";

const S32_MIN = -0x80000000;
const S32_MAX = 0x7fffffff;
export const U32_MAX = 0xffffffff;

/** The names of the fields of T that hold a number. */
export type NumericKey<T> = { [K in keyof T]: T[K] extends number ? K : never }[keyof T];

/** strtol of proc_dointvec: NaN if `text` is no number. */
export function procParseInt(text: string): number {
  const t = text.trim();
  if (/^-?0x[0-9a-f]+$/i.test(t)) return t.startsWith("-") ? -Number.parseInt(t.slice(3), 16) : Number.parseInt(t, 16);
  if (/^-?0[0-7]+$/.test(t)) return Number.parseInt(t, 8);
  return /^-?\d+$/.test(t) ? Number.parseInt(t, 10) : Number.NaN;
}

/**
 * A number. `scale`: the field holds `/proc` value × scale (seconds shown, jiffies kept: 1000). `after` runs when the
 * value was written.
 */
export function registerSysctlInt<T extends object>(
  net: Net,
  name: string,
  obj: T,
  key: NumericKey<T>,
  min: number = S32_MIN,
  max: number = S32_MAX,
  scale = 1,
  after: (() => void) | null = null,
): void {
  const fields = obj as Record<PropertyKey, number>;
  const k = key as PropertyKey;
  net.sysctlTable.set(name, {
    get: () => String(Math.trunc((fields[k] as number) / scale)),
    set(value: string): number {
      const n = procParseInt(value);
      if (Number.isNaN(n) || n < min || n > max) return -EINVAL;
      fields[k] = n * scale;
      after?.();
      return 0;
    },
  });
}

/** A vector of numbers, separated by tabs when read. Writing fewer than all changes the first ones. */
export function registerSysctlVec(
  net: Net,
  name: string,
  vec: number[],
  min: number = S32_MIN,
  max: number = S32_MAX,
  check: ((vec: readonly number[]) => boolean) | null = null,
): void {
  net.sysctlTable.set(name, {
    get: () => vec.join("\t"),
    set(value: string): number {
      const words = value.trim().split(/\s+/);
      if (words.length > vec.length) return -EINVAL;
      const next = vec.slice();
      for (let i = 0; i < words.length; i++) {
        const n = procParseInt(words[i] as string);
        if (Number.isNaN(n) || n < min || n > max) return -EINVAL;
        next[i] = n;
      }
      if (check !== null && !check(next)) return -EINVAL;
      for (let i = 0; i < vec.length; i++) vec[i] = next[i] as number;
      return 0;
    },
  });
}

/** Anything else: a string, a list, a switch with a side effect. A name without `set` is read-only (-EPERM). */
export function registerSysctl(
  net: Net,
  name: string,
  get: () => string,
  set: ((value: string) => number) | null = null,
): void {
  const entry: SysctlEntry = { get, set: set ?? (() => -EPERM) };
  net.sysctlTable.set(name, entry);
}

/** Forgets every name under `prefix` ("net.ipv4.conf.eth0."). */
export function unregisterSysctls(net: Net, prefix: string): void {
  for (const name of net.sysctlTable.keys()) if (name.startsWith(prefix)) net.sysctlTable.delete(name);
}
