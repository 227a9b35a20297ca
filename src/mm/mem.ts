/**
 * The memory of a machine and the views on it. `u8`, `u32`, `dv`, `wasm` ... are live bindings of the *current*
 * machine: `useMachine` switches them (Kernel.enter does it), and code below the kernel's entry points just uses them.
 */

import {
  ARENA_RESULT,
  ARENA_STAT_BYTES_COPIED,
  ARENA_STATS,
  CPU_ARENA_SIZE,
  CTRL,
  CTRL_ARENAS,
  CTRL_STAGING_BASE,
  MAX_MEMORY,
  NR_CPUS,
  STAGING_SIZE,
} from "../../assembly/layout.ts";
import { compileWasm, compileWasmSync, instantiateWasm, type SkbuffWasm } from "./loader.ts";

export type { SkbuffWasm } from "./loader.ts";

/** Objects that skbs refer to by number (devices, sockets, conntrack entries). Slot 0 is nothing. */
export class SlotTable {
  /** The object of each slot, null where it is free. */
  readonly items: unknown[] = [null];
  readonly #free: number[] = [];

  /** Gives `object` a slot. */
  alloc(object: unknown): number {
    const slot = this.#free.pop() ?? this.items.length;
    this.items[slot] = object;
    return slot;
  }

  /** Gives the slot back. No skb may refer to it any more. */
  free(slot: number): void {
    if (slot === 0) return;
    this.items[slot] = null;
    this.#free.push(slot);
  }

  /** Slots in use. */
  get size(): number {
    return this.items.length - 1 - this.#free.length;
  }
}

export interface MachineOptions {
  /** Size of the machine's memory in bytes (a multiple of 64 KiB, at most 2 GiB). Pages are committed when touched. */
  memoryBytes?: number;
  /** The WebAssembly module (compiled or its bytes) instead of the inlined one: the debug build, strict bundlers. */
  wasm?: WebAssembly.Module | ArrayBuffer | ArrayBufferView;
  /** Joins a memory that another worker has made, instead of making one. */
  memory?: WebAssembly.Memory;
  /** Which cpu (worker) of that memory this is: 0 (default) to 7. */
  cpu?: number;
}

export const DEFAULT_MEMORY_BYTES: number = 256 * 1024 * 1024;

/** One worker's hold on a memory: the views, the wasm instance, and the objects that skbs refer to. */
export class Machine {
  readonly memory: WebAssembly.Memory;
  readonly cpu: number;
  readonly wasm: SkbuffWasm;
  readonly u8: Uint8Array<SharedArrayBuffer>;
  readonly u16: Uint16Array<SharedArrayBuffer>;
  readonly u32: Uint32Array<SharedArrayBuffer>;
  readonly i32: Int32Array<SharedArrayBuffer>;
  readonly f64: Float64Array<SharedArrayBuffer>;
  /** For wire formats: its methods are big-endian unless told otherwise. */
  readonly dv: DataView<SharedArrayBuffer>;
  /** Slots for skb->dev, skb->sk and skb->_nfct. */
  readonly devs: SlotTable = new SlotTable();
  readonly socks: SlotTable = new SlotTable();
  readonly nfcts: SlotTable = new SlotTable();
  /** skb->_skb_refdst: by `skb >>> 16`, then by `(skb >>> 8) & 255`. */
  readonly dsts: (unknown[] | null)[];
  /** Address of this cpu's ARENA_RESULT words and of its staging area. */
  readonly result: number;
  readonly staging: number;
  /** Index into `u32` of this cpu's ARENA_STAT_BYTES_COPIED, for the copies that JavaScript makes. */
  readonly statCopied: number;
  /** Views of the staging area that src/mm/usercopy.ts keeps. */
  readonly stagingViews: (Uint8Array | undefined)[] = new Array<Uint8Array | undefined>(1024).fill(undefined);

  constructor(memory: WebAssembly.Memory, cpu: number, wasm: SkbuffWasm) {
    const buffer = memory.buffer as SharedArrayBuffer;
    if (wasm.mmInit(buffer.byteLength) === 0) throw new RangeError("the memory is too small, or not one of ours");
    this.memory = memory;
    this.cpu = cpu;
    this.wasm = wasm;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.dv = new DataView(buffer);
    this.dsts = new Array<unknown[] | null>(buffer.byteLength >>> 16).fill(null);
    this.result = CTRL + CTRL_ARENAS + cpu * CPU_ARENA_SIZE + ARENA_RESULT;
    this.statCopied = (CTRL + CTRL_ARENAS + cpu * CPU_ARENA_SIZE + ARENA_STATS + ARENA_STAT_BYTES_COPIED) >>> 2;
    this.staging = this.u32[(CTRL + CTRL_STAGING_BASE) >>> 2] + cpu * STAGING_SIZE;
  }
}

export let u8: Uint8Array<SharedArrayBuffer> = undefined as unknown as Uint8Array<SharedArrayBuffer>;
export let u16: Uint16Array<SharedArrayBuffer> = undefined as unknown as Uint16Array<SharedArrayBuffer>;
export let u32: Uint32Array<SharedArrayBuffer> = undefined as unknown as Uint32Array<SharedArrayBuffer>;
export let i32: Int32Array<SharedArrayBuffer> = undefined as unknown as Int32Array<SharedArrayBuffer>;
export let f64: Float64Array<SharedArrayBuffer> = undefined as unknown as Float64Array<SharedArrayBuffer>;
export let dv: DataView<SharedArrayBuffer> = undefined as unknown as DataView<SharedArrayBuffer>;
export let wasm: SkbuffWasm = undefined as unknown as SkbuffWasm;
/** The current machine. */
export let machine: Machine = undefined as unknown as Machine;

/** Makes `m` the current machine. */
export function useMachine(m: Machine): void {
  machine = m;
  u8 = m.u8;
  u16 = m.u16;
  u32 = m.u32;
  i32 = m.i32;
  f64 = m.f64;
  dv = m.dv;
  wasm = m.wasm;
}

function newMemory(opts: MachineOptions): WebAssembly.Memory {
  if (opts.memory !== undefined) return opts.memory;
  const bytes = opts.memoryBytes ?? DEFAULT_MEMORY_BYTES;
  if (!(bytes > 0) || bytes > MAX_MEMORY) throw new RangeError(`memoryBytes ${bytes} is not in 1 .. ${MAX_MEMORY}`);
  const pages = Math.ceil(bytes / 65536);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}

function cpuOf(opts: MachineOptions): number {
  const cpu = opts.cpu ?? 0;
  if (!Number.isInteger(cpu) || cpu < 0 || cpu >= NR_CPUS)
    throw new RangeError(`cpu ${cpu} is not in 0 .. ${NR_CPUS - 1}`);
  return cpu;
}

/**
 * Makes a machine: its memory, its wasm instance, its empty pool.
 *
 * @example
 * const machine = await createMachine({ memoryBytes: 64 << 20 });
 * useMachine(machine);
 * const skb = allocSkb(1500);
 */
export async function createMachine(opts: MachineOptions = {}): Promise<Machine> {
  const { wasm } = opts;
  if (wasm === undefined) await compileWasm();
  else if (!(wasm instanceof WebAssembly.Module))
    return createMachineSync({ ...opts, wasm: await WebAssembly.compile(wasm) });
  return createMachineSync(opts);
}

/** createMachine without waiting; the module is compiled on the spot if it was not before. */
export function createMachineSync(opts: MachineOptions = {}): Machine {
  const { wasm } = opts;
  const module =
    wasm === undefined ? compileWasmSync() : wasm instanceof WebAssembly.Module ? wasm : new WebAssembly.Module(wasm);
  const memory = newMemory(opts);
  const cpu = cpuOf(opts);
  return new Machine(memory, cpu, instantiateWasm(module, memory, cpu));
}
