/** The names that scripts use for numbers: the kernel's, from uapi/. */

import * as uapi from "../../uapi/index.ts";

const EXTRA: Readonly<Record<string, number>> = {
  TCP_INFINITE_SSTHRESH: 0x7fffffff,
  SOL_IP: 0,
  SO_TIMESTAMPING: 37,
  SO_TIMESTAMP: 29,
  SO_TIMESTAMPNS: 35,
};

/** The value of a symbol; undefined if the kernel has none of that name. */
export function symbolValue(name: string): number | undefined {
  const value = (uapi as unknown as Record<string, unknown>)[name];
  if (typeof value === "number") return value;
  return EXTRA[name] ?? uapi.errnoByName(name);
}

/** Names and values that code sees from its beginning: states, option bits, limits. */
export function codeSymbols(): [string, number][] {
  const wanted =
    /^TCP_(?:CA_\w+|ESTABLISHED|SYN_SENT|SYN_RECV|FIN_WAIT[12]|TIME_WAIT|CLOSE|CLOSE_WAIT|LAST_ACK|LISTEN|CLOSING)$|^TCPI_OPT_/;
  const out: [string, number][] = [["TCP_INFINITE_SSTHRESH", 0x7fffffff]];
  for (const [name, value] of Object.entries(uapi)) {
    if (wanted.test(name) && typeof value === "number") out.push([name, value]);
  }
  return out;
}
