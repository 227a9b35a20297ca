import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as layout from "../../assembly/layout.ts";
import { decodeBase64 } from "../../src/mm/loader.ts";
import { wasm } from "../../src/mm/mem.ts";
import { withMachine } from "../mm/util.ts";

withMachine();

const source = readFileSync(new URL("../../assembly/layout.ts", import.meta.url), "utf8");
const numbers = layout as unknown as Record<string, number>;

describe("assembly/layout.ts", () => {
  it("hashes every constant that the wasm module uses", () => {
    const mixed = new Set([...source.matchAll(/^ {2}h = mix\(h, (\w+)\);/gm)].map((match) => match[1]));
    const used = new Set<string>();
    const dir = new URL("../../assembly/", import.meta.url);
    for (const file of readdirSync(dir, { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".ts") || file === "layout.ts") continue;
      const text = readFileSync(new URL(file, dir), "utf8");
      for (const [, names] of text.matchAll(/import \{([^}]*)\} from "[./]*\/layout"/g)) {
        for (const [name] of (names as string).matchAll(/\w+/g)) used.add(name);
      }
    }
    expect(used.size).toBeGreaterThan(50);
    expect([...used].filter((name) => !mixed.has(name))).toEqual([]);
    expect(wasm.layoutHash() >>> 0).toBe(layout.layoutHash());
  });

  /** Fields of a struct: [name, bytes]. They must not overlap and must end by `size`. */
  function noOverlap(fields: [string, number][], size: number): void {
    const spans = fields.map(([name, bytes]) => ({ name, at: numbers[name] as number, bytes }));
    spans.sort((a, b) => a.at - b.at);
    let end = 0;
    for (const { name, at, bytes } of spans) {
      expect(at % Math.min(bytes, 8), `${name} is aligned`).toBe(0);
      expect(at, `${name} overlaps what stands before it`).toBeGreaterThanOrEqual(end);
      end = at + bytes;
    }
    expect(end).toBeLessThanOrEqual(size);
  }

  it("sk_buff's fields do not overlap", () => {
    const words =
      "NEXT PREV SK DEV LEN DATA_LEN HEAD DATA TAIL END TRANSPORT_HEADER NETWORK_HEADER MAC_HEADER TRUESIZE USERS";
    const more = "CSUM PRIORITY MARK HASH SKB_IIF NFCT ID ORIGIN";
    const halves = "PROTOCOL CSUM_START CSUM_OFFSET VLAN_TCI QUEUE_MAPPING MAC_LEN HDR_LEN";
    const bytes = "PKT_TYPE IP_SUMMED CLONED DESTRUCTOR FLAGS NF";
    noOverlap(
      [
        ...`${words} ${more}`.split(" ").map((name): [string, number] => [`SKB_${name}`, 4]),
        ...halves.split(" ").map((name): [string, number] => [`SKB_${name}`, 2]),
        ...bytes.split(" ").map((name): [string, number] => [`SKB_${name}`, 1]),
        ["SKB_TSTAMP", 8],
      ],
      layout.SKB_RESERVED,
    );
    expect(layout.SKB_CB + layout.SKB_CB_SIZE).toBe(layout.SKB_SIZE);
  });

  it("skb_shared_info's fields do not overlap", () => {
    noOverlap(
      [
        ["SHINFO_NR_FRAGS", 1],
        ["SHINFO_TX_FLAGS", 1],
        ["SHINFO_GSO_SIZE", 2],
        ["SHINFO_GSO_SEGS", 2],
        ["SHINFO_GSO_TYPE", 2],
        ["SHINFO_FRAG_LIST", 4],
        ["SHINFO_TSKEY", 4],
        ["SHINFO_UARG", 4],
        ["SHINFO_DATAREF", 4],
        ["SHINFO_FRAGS", layout.MAX_SKB_FRAGS * layout.FRAG_SIZE],
      ].map(([name, bytes]): [string, number] => [name as string, name === "SHINFO_FRAGS" ? 4 : (bytes as number)]),
      layout.SKB_SHARED_INFO_SIZE,
    );
    expect(layout.SHINFO_FRAGS + layout.MAX_SKB_FRAGS * layout.FRAG_SIZE).toBeLessThanOrEqual(
      layout.SKB_SHARED_INFO_SIZE,
    );
  });

  it("the control block ends before the block table", () => {
    expect(layout.CTRL_ARENAS + layout.NR_CPUS * layout.CPU_ARENA_SIZE).toBeLessThanOrEqual(
      layout.BLOCK_TABLE - layout.CTRL,
    );
    expect(layout.ARENA_STATS + 4 * layout.ARENA_STAT_WORDS).toBeLessThanOrEqual(layout.ARENA_RESULT);
    expect(layout.ARENA_RESULT + 4 * layout.ARENA_RESULT_WORDS).toBeLessThanOrEqual(layout.ARENA_SCRATCH);
    expect(layout.ARENA_PARTIAL + 4 * layout.NR_CLASSES).toBeLessThanOrEqual(layout.ARENA_SERIAL);
  });
});

it("decodeBase64 equals Buffer", () => {
  for (let n = 0; n < 70; n++) {
    const bytes = Buffer.from(Array.from({ length: n }, (_, i) => (i * 89 + n) & 255));
    expect(Buffer.from(decodeBase64(bytes.toString("base64")))).toEqual(bytes);
  }
});
