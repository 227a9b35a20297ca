/**
 * What the WebAssembly module must not have. Several instances of it share one memory, so whatever belongs to an
 * instance (data segments that are applied again, a start function, mutable globals) would be a second truth beside
 * the state in that memory.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { layoutHash } from "../assembly/layout.ts";
import { decodeBase64 } from "../src/mm/loader.ts";
import { WASM_BASE64 } from "../src/mm/skbuff.wasm.ts";

interface Section {
  readonly id: number;
  readonly bytes: Uint8Array;
}

interface ImportEntry {
  readonly module: string;
  readonly name: string;
  readonly kind: "func" | "table" | "memory" | "global";
  /** Of a memory: limits in pages. */
  readonly min?: number;
  readonly max?: number | undefined;
  readonly shared?: boolean;
  /** Of a global. */
  readonly mutable?: boolean;
}

const IMPORT = 2;
const MEMORY = 5;
const GLOBAL = 6;
const START = 8;
const DATA = 11;
const DATA_COUNT = 12;

/** Reads a WebAssembly binary front to back; just as much of it as these tests look at. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    const value = this.#bytes[this.#at++];
    if (value === undefined) throw new Error("the module ends too early");
    return value;
  }

  /** An unsigned LEB128 number; with more than 32 bits it would not be exact, and there is none. */
  u32(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  take(length: number): Uint8Array {
    this.#at += length;
    return this.#bytes.slice(this.#at - length, this.#at);
  }

  name(): string {
    return new TextDecoder().decode(this.take(this.u32()));
  }
}

function sectionsOf(module: Uint8Array): Section[] {
  const reader = new Reader(module);
  expect([...reader.take(8)]).toEqual([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
  const sections: Section[] = [];
  while (!reader.done) {
    const id = reader.byte();
    sections.push({ id, bytes: reader.take(reader.u32()) });
  }
  return sections;
}

function importsOf(sections: readonly Section[]): ImportEntry[] {
  const section = sections.find(({ id }) => id === IMPORT);
  if (section === undefined) return [];
  const reader = new Reader(section.bytes);
  const imports: ImportEntry[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    const module = reader.name();
    const name = reader.name();
    const kind = reader.byte();
    if (kind === 0) imports.push({ module, name, kind: "func", min: reader.u32() });
    else if (kind === 2) {
      const flags = reader.byte();
      const min = reader.u32();
      imports.push({
        module,
        name,
        kind: "memory",
        min,
        max: flags & 1 ? reader.u32() : undefined,
        shared: (flags & 2) !== 0,
      });
    } else if (kind === 3) {
      reader.byte();
      imports.push({ module, name, kind: "global", mutable: reader.byte() === 1 });
    } else throw new Error(`an import of kind ${kind}`);
  }
  return imports;
}

/** The mutability of the module's own globals: type, mutability, then an initial value that ends in `end` (0x0b). */
function globalsOf(sections: readonly Section[]): boolean[] {
  const section = sections.find(({ id }) => id === GLOBAL);
  if (section === undefined) return [];
  const reader = new Reader(section.bytes);
  const mutable: boolean[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    reader.byte();
    mutable.push(reader.byte() === 1);
    const opcode = reader.byte();
    if (opcode === 0x41 || opcode === 0x42 || opcode === 0x23) reader.u32();
    else if (opcode === 0x43) reader.take(4);
    else if (opcode === 0x44) reader.take(8);
    else throw new Error(`an initial value with opcode ${opcode}`);
    expect(reader.byte()).toBe(0x0b);
  }
  return mutable;
}

const inlined = decodeBase64(WASM_BASE64);
const sections = sectionsOf(inlined);
const has = (wanted: number): boolean => sections.some(({ id }) => id === wanted);

describe("the wasm module", () => {
  test("is the one that was built last", () => {
    expect(Buffer.from(inlined).equals(readFileSync(new URL("../build/skbuff.wasm", import.meta.url)))).toBe(true);
  });

  test("is small", () => {
    expect(inlined.length).toBeLessThan(64 * 1024);
  });

  test("has no data segments and no start function", () => {
    const count = sections.filter(({ id }) => id === DATA).reduce((sum, { bytes }) => sum + new Reader(bytes).u32(), 0);
    expect(count).toBe(0);
    const declared = sections
      .filter(({ id }) => id === DATA_COUNT)
      .reduce((sum, { bytes }) => sum + new Reader(bytes).u32(), 0);
    expect(declared).toBe(0);
    expect(has(START)).toBe(false);
  });

  test("has no mutable globals", () => {
    expect(globalsOf(sections)).not.toContain(true);
    expect(importsOf(sections).filter(({ mutable }) => mutable)).toEqual([]);
  });

  test("imports env.* only, among it a shared memory of any size", () => {
    const imports = importsOf(sections);
    expect(new Set(imports.map(({ module }) => module))).toEqual(new Set(["env"]));
    expect(imports.find(({ kind }) => kind === "memory")).toEqual({
      module: "env",
      name: "memory",
      kind: "memory",
      min: 1,
      max: 65536,
      shared: true,
    });
    expect(has(MEMORY)).toBe(false);
    const globals = Object.fromEntries(imports.filter(({ kind }) => kind === "global").map(({ name }) => [name, 0]));
    const module = new WebAssembly.Module(inlined);
    for (const pages of [64, 4096, 65536]) {
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
      expect(() => new WebAssembly.Instance(module, { env: { ...globals, memory } })).not.toThrow();
    }
  });

  test("exports functions only", () => {
    const kinds = new Set(WebAssembly.Module.exports(new WebAssembly.Module(inlined)).map(({ kind }) => kind));
    expect(kinds).toEqual(new Set(["function"]));
  });

  test("was compiled from the layout that the library was", () => {
    const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(inlined), { env: { memory, cpu: 0 } });
    const hash = exports["layoutHash"] as () => number;
    expect(hash() >>> 0).toBe(layoutHash());
  });

  test("leaves what another instance has written", () => {
    const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
    const module = new WebAssembly.Module(inlined);
    const words = new Uint32Array(memory.buffer);
    const first = new WebAssembly.Instance(module, { env: { memory, cpu: 0 } });
    (first.exports["mmInit"] as (bytes: number) => void)(64 * 65536);
    const before = words.slice();
    expect(before.some((word) => word !== 0)).toBe(true);
    new WebAssembly.Instance(module, { env: { memory, cpu: 1 } });
    expect(words.every((word, i) => word === before[i])).toBe(true);
  });
});

describe("the parser of this test", () => {
  // (module (memory 1) (global (mut i32) (i32.const 5)) (data (i32.const 0) "a"))
  const bad = new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 5, 3, 1, 0, 1, 6, 6, 1, 0x7f, 1, 0x41, 5, 0x0b, 11, 7, 1, 0, 0x41, 0, 0x0b, 1,
    0x61,
  ]);

  test("sees what must not be there", () => {
    expect(WebAssembly.validate(bad)).toBe(true);
    const found = sectionsOf(bad);
    expect(found.map(({ id }) => id)).toEqual([MEMORY, GLOBAL, DATA]);
    expect(globalsOf(found)).toEqual([true]);
  });
});
