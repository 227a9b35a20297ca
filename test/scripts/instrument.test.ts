import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type InstrumentOptions, instrument as instrumentFile, shouldInstrument } from "../../scripts/instrument.mjs";

/** The functions here are short leaves, which the build leaves alone. */
function instrument(code: string, file: string, options: InstrumentOptions = {}): ReturnType<typeof instrumentFile> {
  return instrumentFile(code, file, { leafLength: 0, ...options });
}

test("short leaves are left alone, others are not", () => {
  const leaf = "export function leaf(a) { const b = a + 1; return b; }";
  expect(instrumentFile(leaf, "src/net/x.ts")).toBeUndefined();
  expect(
    instrumentFile(`${leaf}\nexport function f(a) { const b = leaf(a); return b; }`, "src/net/x.ts")?.traced,
  ).toEqual(["f"]);
});

type Call = (...args: unknown[]) => unknown;

const BODY = "const r = 1; return r;";

function traced(code: string, original?: string): string[] {
  return instrument(code, "src/net/x.ts", original === undefined ? {} : { original })?.traced ?? [];
}

describe("which functions", () => {
  test.each([
    ["plain", `function f(a) { ${BODY} }`, ["f"]],
    ["exported", `export function f(a) { ${BODY} }`, ["f"]],
    ["one statement that calls", "function dstOutput(skb) { return skbDst(skb).output(skb); }", ["dstOutput"]],
    ["a loop is no accessor", "function f(a) { for (;;) a(); }", ["f"]],
    ["accessor", "function skbLen(skb) { return u32[(skb + 4) >>> 2]; }", []],
    ["accessor through a DataView", "function thSource(th) { return dv.getUint16(th); }", []],
    ["setter", "function skbSetLen(skb, n) { u32[(skb + 4) >>> 2] = n; }", []],
    ["arithmetic", "function tcpLeftOut(tp) { return Math.max(tp.sackedOut + tp.lostOut, 0); }", []],
    ["empty", "function nop() {}", []],
    ["async", `async function f() { ${BODY} }`, []],
    ["generator", `function* f() { ${BODY} }`, []],
    ["nested", `const o = { f() { ${BODY} } }; class C { m() { ${BODY} } }`, []],
    ["shadowed by a parameter", `function sk(sk) { ${BODY} }`, []],
    ["shadowed by a variable", "function f() { const f = 1; return g(f); }", []],
  ])("%s", (_what, code, names) => {
    expect(traced(code)).toEqual(names);
  });

  test("a one-liner that is too long for an accessor is traced", () => {
    expect(traced(`function f(a) { return ${"a + ".repeat(30)} a; }`)).toEqual(["f"]);
  });

  test.each([
    ["/* notrace */", []],
    ["// notrace", []],
    ["/**\n * Why. \n */\n/* notrace */", []],
    ["/* something else */", ["f"]],
  ])("opt out: %s", (comment, names) => {
    expect(traced(`function f(a) { ${BODY} }`, `${comment}\nexport function f(a: number): number { ${BODY} }`)).toEqual(
      names,
    );
  });

  test("an accessor opts in", () => {
    const source = "/* trace */\nfunction skbLen(skb) { return u32[skb]; }";
    expect(traced(source)).toEqual(["skbLen"]);
  });

  test("what is inline in the kernel's headers", () => {
    expect(instrument(`function f() { ${BODY} }`, "src/net/ipv4/tcp_h.ts")).toBeUndefined();
    const source = `/* trace */\nfunction f() { ${BODY} }`;
    expect(instrument(source, "src/net/ipv4/tcp_h.ts")?.traced).toEqual(["f"]);
  });

  test("a file opts out", () => {
    expect(traced(`function f() { ${BODY} }`, `/* notrace file */\nfunction f() { ${BODY} }`)).toEqual([]);
  });

  test.each([
    ["src/net/ipv4/tcp.ts", true],
    ["src/drivers/net/veth.ts", true],
    ["src/kernel/kernel.ts", false],
    ["src/mm/skb.ts", false],
    ["src/net/core/types.d.ts", false],
    ["test/net/x.ts", false],
  ])("%s: %s", (file, wanted) => {
    expect(shouldInstrument(file)).toBe(wanted);
  });
});

describe("what becomes of them", () => {
  /** Runs instrumented code with a tracer that notes every call and lets it through. */
  function run(code: string, expression: string): { value: unknown; calls: unknown[][] } {
    const done = instrument(code, "src/net/x.ts");
    const calls: unknown[][] = [];
    let passing: unknown;
    const tracer = (
      fn: Call,
      args?: unknown[],
      info?: (i: number) => unknown[],
      index = 0,
      self?: unknown,
    ): unknown => {
      if (args === undefined) return passing === fn ? ((passing = undefined), false) : true;
      const [name, , , params] = info?.(index) ?? [];
      calls.push([name, params, args]);
      passing = fn;
      return fn.apply(self, args);
    };
    const text = (done?.code ?? code).replace(/^import [^;]*;/, "").replace(/export /g, "");
    const make = new Function("__skbuffTrace", `"use strict"; ${text}; return ${expression};`) as (
      t: unknown,
    ) => unknown;
    return { value: make(tracer), calls };
  }

  test("parameters of every kind", () => {
    const code = `
      export function plain(a, b) { const r = a + b; return r; }
      export function withDefault(a, b = 5) { const r = a + b; return r; }
      export function withRest(a, ...r) { const n = r.length; return a + n; }
      export function pattern({ a, b }, [c]) { const r = a + b + c; return r; }
      export function usesArguments(a) { const n = arguments.length; return n; }
      export function usesThis(a) { const r = this.x + a; return r; }
    `;
    const expression =
      "[plain(1, 2), withDefault(1), withRest(1, 2, 3), pattern({ a: 1, b: 2 }, [3]), usesArguments(1, 2), usesThis.call({ x: 4 }, 1)]";
    const { value, calls } = run(code, expression);
    expect(value).toEqual([3, 6, 3, 6, 2, 5]);
    expect(calls).toEqual([
      ["plain", "a,b", [1, 2]],
      ["withDefault", "a,b", [1, 5]],
      ["withRest", "a,r", [1, 2, 3]],
      ["pattern", "arg0,arg1", [{ a: 1, b: 2 }, [3]]],
      ["usesArguments", "a", [1, 2]],
      ["usesThis", "a", [1]],
    ]);
  });

  test("recursion goes through the hook", () => {
    const { value, calls } = run("function fact(n) { if (n < 2) return 1; return n * fact(n - 1); }", "fact(4)");
    expect(value).toBe(24);
    expect(calls.map(([, , args]) => args)).toEqual([[4], [3], [2], [1]]);
  });

  test("lines keep their numbers", () => {
    const code = "// one\nexport function f(a) {\n  const b = a;\n  return b;\n}\nexport const x = 1;\n";
    const lines = (instrument(code, "src/net/x.ts")?.code ?? "").split("\n");
    expect(lines).toHaveLength(code.split("\n").length);
    expect(lines[3]).toBe("  return b;");
    expect(lines[5]).toMatch(/^export const x = 1;/);
  });

  test("the line that is reported is the source's", () => {
    const original = "\n\n\nexport function f(a: number): number {\n  const r = a;\n  return r;\n}\n";
    const { code } =
      instrument("export function f(a) {\n const r = a;\n return r;\n}", "src/net/ipv4/x.ts", { original }) ?? {};
    expect(code).toContain("function f(a) { if (__skbuffTrace !== null && __fie(0, a)) return __fiv;");
    expect(code).toContain('function __fi(i) { return [["f","net/ipv4/x.ts",4,"a"]][i]; }');
    expect(code).toMatch(/^import "..\/..\/kernel\/ftrace.ts"; /);
  });

  describe("as modules", () => {
    let dir = "";
    afterEach(() => rmSync(dir, { recursive: true, force: true }));

    test("hoisting survives an import cycle, and the tracer off is transparent", () => {
      dir = mkdtempSync(join(tmpdir(), "instrument-"));
      const put = (file: string, text: string) => {
        mkdirSync(dirname(join(dir, file)), { recursive: true });
        writeFileSync(join(dir, file), text);
      };
      const compile = (file: string, code: string) =>
        put(file.replace(/\.ts$/, ".js"), instrument(code, file, { extension: ".js" })?.code ?? "");
      put("package.json", '{ "type": "module" }');
      put("src/kernel/ftrace.js", "globalThis.__skbuffTrace = null;\n");
      // b runs first and calls a's function while a has not been evaluated: only hoisted declarations allow that.
      compile(
        "src/net/a.ts",
        'import { fromB } from "./b.js";\nexport function inA(n) { const r = n + 1; return r; }\nexport const v = fromB;\n',
      );
      compile(
        "src/net/b.ts",
        'import { inA } from "./a.js";\nexport function inB(n) { const r = inA(n); return r; }\nexport const fromB = inB(1);\n',
      );
      const script = 'import("./src/net/a.js").then((m) => console.log(m.v, m.inA.name, m.inA.length));';
      const node = spawnSync(process.execPath, ["-e", script], { cwd: dir, encoding: "utf8" });
      expect(node.stderr).toBe("");
      expect(node.stdout.trim()).toBe("2 inA 1");
    });
  });
});
