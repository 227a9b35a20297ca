/** The house rules, as far as a program can check them. Every rule lists the places where it is broken. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { type Node, parse } from "acorn";
import { transformWithOxc } from "vite";
import { beforeAll, describe, expect, test } from "vitest";
import { camelName, kernelName } from "../src/kernel/names.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

interface Import {
  readonly line: number;
  /** A path from the root of the repository, or a package. */
  readonly target: string;
}

interface Source {
  readonly file: string;
  readonly text: string;
  readonly lines: readonly string[];
  readonly imports: readonly Import[];
  /** The syntax tree without the types; null for assembly/. */
  ast: AnyNode | null;
}

type AnyNode = Node & Record<string, unknown>;

function walkFiles(dir: string): string[] {
  const out: string[] = [];
  for (const entry of readdirSync(join(root, dir), { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !/\.(?:ts|mjs)$/.test(entry.name)) continue;
    out.push(relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"));
  }
  return out.sort();
}

function read(file: string): Source {
  const text = readFileSync(join(root, file), "utf8");
  const imports: Import[] = [];
  for (const match of text.matchAll(/^(?:import|export)\b(?:[^;"]*?\bfrom)?\s*"([^"]+)"|\bimport\("([^"]+)"\)/gm)) {
    const name = match[1] ?? match[2] ?? "";
    const target = name.startsWith(".") ? posix.join(posix.dirname(file), name) : name;
    imports.push({ line: text.slice(0, match.index).split("\n").length, target });
  }
  return { file, text, lines: text.split("\n"), imports, ast: null };
}

const generated = (file: string): boolean => file.endsWith(".wasm.ts");
const sources: Source[] = ["src", "assembly"]
  .flatMap(walkFiles)
  .filter((file) => !generated(file))
  .map(read);
const inSrc: Source[] = sources.filter(({ file }) => file.startsWith("src/") && !file.endsWith(".d.ts"));
const everything: Source[] = [
  ...sources,
  ...["test", "scripts", "bench"].flatMap((dir) => (exists(dir) ? walkFiles(dir) : [])).map(read),
];

function exists(dir: string): boolean {
  return readdirSync(root).includes(dir);
}

function walk(node: AnyNode, parent: AnyNode | null, visit: (node: AnyNode, parent: AnyNode | null) => void): void {
  visit(node, parent);
  for (const key in node) {
    const child = node[key];
    for (const one of Array.isArray(child) ? child : [child]) {
      if (typeof one === "object" && one !== null && typeof (one as AnyNode).type === "string")
        walk(one as AnyNode, node, visit);
    }
  }
}

beforeAll(async () => {
  for (const source of inSrc) {
    const { code } = await transformWithOxc(source.text, source.file, { sourcemap: false });
    source.ast = parse(code, { ecmaVersion: "latest", sourceType: "module" }) as unknown as AnyNode;
  }
});

/** The directories that a file of a directory may import from, besides its own. The first pattern that fits counts. */
const LAYERS: readonly (readonly [from: RegExp, to: readonly RegExp[]])[] = [
  [/^assembly\//, [/^assembly\//]],
  [/^src\/uapi\//, []],
  [/^src\/(?:mm|kernel)\//, [/^src\/(?:uapi|mm|kernel)\//, /^assembly\/layout\.ts$/]],
  [/^src\/net\/core\//, [/^src\/(?:uapi|mm|kernel)\//, /^assembly\/layout\.ts$/]],
  // Files and pipes: between the core and the sockets.
  [/^src\/fs\//, [/^src\/(?:uapi|mm|kernel|net\/core)\//, /^assembly\/layout\.ts$/]],
  [/^src\/net\/(?:ethernet|sched)\//, [/^src\/(?:uapi|mm|kernel|net\/core)\//, /^assembly\/layout\.ts$/]],
  // A family: the core, its link layer, the socket layer that it registers with, and the hooks that it calls.
  [
    /^src\/net\/(?:ipv4|ipv6|packet)\//,
    [
      /^src\/(?:uapi|mm|kernel|fs|net\/core|net\/ethernet)\//,
      /^src\/net\/socket\.ts$/,
      /^src\/net\/netfilter\/core\.ts$/,
      /^assembly\/layout\.ts$/,
    ],
  ],
  // Netfilter reads packets and asks the core; it meets the family through the hooks alone.
  [/^src\/net\/netfilter\//, [/^src\/(?:uapi|mm|kernel|net\/core)\//, /^assembly\/layout\.ts$/]],
  [/^src\/net\/\w+\.ts$/, [/^src\/(?:uapi|mm|kernel|fs|net\/core)\//, /^src\/net\/\w+\.ts$/]],
  [/^src\/drivers\//, [/^src\/(?:uapi|mm|kernel|net\/core|net\/ethernet|drivers)\//, /^assembly\/layout\.ts$/]],
  // On top: everything below, and each other, but the platform.
  [/^src\/(?:sim|tools)\//, [/^src\/(?!platform\/|cli\/|compat\/)/, /^assembly\/layout\.ts$/]],
  [/^src\/platform\//, [/^src\/(?!cli\/)/, /^assembly\/layout\.ts$/]],
  // The command runs the benchmarks, which stand outside src/.
  [/^src\/cli\//, [/^src\//, /^bench\//, /^assembly\/layout\.ts$/]],
  [/^src\//, [/^src\//, /^assembly\/layout\.ts$/]],
];

/** Where the outside world may be touched: clocks, entropy, timers, files, the event loop. */
const OUTSIDE: RegExp = /^src\/(?:platform|cli|compat)\/|^src\/(?:index|testing|bench)\.ts$/;
const OUTSIDE_NAMES: ReadonlySet<string> = new Set([
  "Date",
  "performance",
  "process",
  "Buffer",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "clearTimeout",
  "queueMicrotask",
  "crypto",
  "require",
  "globalThis",
]);

describe("dependencies point one way", () => {
  test("imports stay within their layer and those below it", () => {
    const broken: string[] = [];
    for (const { file, imports } of sources) {
      const layer = LAYERS.find(([from]) => from.test(file));
      for (const { line, target } of imports) {
        if (!/^(?:src|assembly)\//.test(target)) continue;
        if (posix.dirname(target) === posix.dirname(file)) continue;
        if (!layer?.[1].some((to) => to.test(target))) broken.push(`${file}:${line} imports ${target}`);
      }
    }
    expect(broken).toEqual([]);
  });

  test("packages and node: are for the outside only", () => {
    const broken: string[] = [];
    for (const { file, imports } of sources) {
      if (OUTSIDE.test(file)) continue;
      for (const { line, target } of imports) {
        if (!/^(?:src|assembly)\//.test(target)) broken.push(`${file}:${line} imports ${target}`);
      }
    }
    expect(broken).toEqual([]);
  });

  test("imports in src/ name the file: ./x.ts", () => {
    const broken: string[] = [];
    for (const { file, imports } of inSrc) {
      for (const { line, target } of imports) {
        if (/^(?:src|assembly)\//.test(target) && !/\.(?:ts|json)$/.test(target))
          broken.push(`${file}:${line} imports ${target}`);
      }
    }
    expect(broken).toEqual([]);
  });

  test("clock, chance, timers and the process are handed in", () => {
    const broken: string[] = [];
    for (const { file, ast } of inSrc) {
      if (OUTSIDE.test(file) || ast === null) continue;
      walk(ast, null, (node, parent) => {
        if (node.type === "MemberExpression") {
          const { object, property } = node as unknown as { object: { name?: string }; property: { name?: string } };
          if (object.name === "Math" && property.name === "random") broken.push(`${file}: Math.random`);
        }
        if (node.type !== "Identifier" || !OUTSIDE_NAMES.has(node["name"] as string)) return;
        const isField =
          (parent?.type === "MemberExpression" && parent["property"] === node && parent["computed"] !== true) ||
          (/^(?:Property|PropertyDefinition|MethodDefinition)$/.test(parent?.type ?? "") &&
            parent?.["key"] === node &&
            parent["shorthand"] !== true);
        // The tracer's switch has to be a global (see there).
        if (file === "src/kernel/ftrace.ts" && node["name"] === "globalThis") return;
        if (!isField) broken.push(`${file}: ${String(node["name"])}`);
      });
    }
    expect(broken).toEqual([]);
  });
});

describe("names", () => {
  test("every kernel function's name survives the way to the kernel's spelling and back", () => {
    const broken: string[] = [];
    for (const { file, ast } of inSrc) {
      if (!/^src\/(?:net|drivers)\//.test(file) || ast === null) continue;
      for (const name of functionsOf(ast)) if (camelName(kernelName(name)) !== name) broken.push(`${file}: ${name}`);
    }
    expect(broken).toEqual([]);
  });

  test("functions of the net are declarations: hoisted over import cycles, and seen by the tracer", () => {
    const broken: string[] = [];
    for (const { file, ast } of inSrc) {
      if (!/^src\/(?:net|drivers)\//.test(file) || ast === null) continue;
      for (const statement of ast["body"] as AnyNode[]) {
        if (statement.type !== "ExportNamedDeclaration") continue;
        const declaration = statement["declaration"] as AnyNode | null;
        if (declaration?.type !== "VariableDeclaration") continue;
        for (const { id, init } of declaration["declarations"] as { id: { name: string }; init: AnyNode | null }[]) {
          if (/^(?:ArrowFunctionExpression|FunctionExpression)$/.test(init?.type ?? ""))
            broken.push(`${file}: ${id.name}`);
        }
      }
    }
    expect(broken).toEqual([]);
  });
});

function functionsOf(ast: AnyNode): string[] {
  const names: string[] = [];
  for (const statement of ast["body"] as AnyNode[]) {
    const declaration = (
      statement.type === "ExportNamedDeclaration" ? statement["declaration"] : statement
    ) as AnyNode | null;
    if (declaration?.type === "FunctionDeclaration") names.push((declaration["id"] as { name: string }).name);
  }
  return names;
}

describe("form", () => {
  test("no file of the library is longer than 1,500 lines", () => {
    expect(
      sources.filter(({ lines }) => lines.length > 1501).map(({ file, lines }) => `${file}: ${lines.length}`),
    ).toEqual([]);
  });

  test("no line is wider than 140 columns", () => {
    const broken: string[] = [];
    for (const { file, lines } of everything) {
      lines.forEach((line, i) => {
        if (line.length > 140 && !/https?:\/\//.test(line)) broken.push(`${file}:${i + 1} (${line.length})`);
      });
    }
    expect(broken).toEqual([]);
  });

  test("exports have names", () => {
    const broken = inSrc.filter(({ ast }) =>
      (ast?.["body"] as AnyNode[] | undefined)?.some((statement) => statement.type === "ExportDefaultDeclaration"),
    );
    expect(broken.map(({ file }) => file)).toEqual([]);
  });

  test("no enums, no namespaces: erasable syntax only", () => {
    const broken = inSrc.filter(({ text }) =>
      /^\s*(?:export\s+)?(?:declare\s+)?(?:const\s+)?(?:enum|namespace)\s+\w/m.test(text),
    );
    expect(broken.map(({ file }) => file)).toEqual([]);
  });

  test("what is left to do is not left in the code", () => {
    // Put together here, or this file would find itself.
    const words = new RegExp(`\b(?:${["TO" + "DO", "FIX" + "ME", "XX" + "X"].join("|")})\b`);
    const broken: string[] = [];
    for (const { file, lines } of everything) {
      lines.forEach((line, i) => {
        if (words.test(line)) broken.push(`${file}:${i + 1}`);
      });
    }
    expect(broken).toEqual([]);
  });

  test("tests are not left focused", () => {
    const broken = everything.filter(
      ({ file, text }) => file.endsWith(".test.ts") && /\b(?:describe|test|it)\.only\(/.test(text),
    );
    expect(broken.map(({ file }) => file)).toEqual([]);
  });
});

describe("assembly", () => {
  const assembly = sources.filter(({ file }) => file.startsWith("assembly/"));

  test("layout.ts imports nothing", () => {
    expect(assembly.find(({ file }) => file === "assembly/layout.ts")?.imports).toEqual([]);
  });

  test("no decorators, no new, no strings outside imports: no garbage collector, no static data", () => {
    const broken: string[] = [];
    for (const { file, lines } of assembly) {
      lines.forEach((line, i) => {
        const code = line.replace(/\/\/.*|^\s*\/?\*.*/, "");
        if (/^\s*@(?!unmanaged\b)\w+/.test(code)) broken.push(`${file}:${i + 1} decorator`);
        if (/\bnew\s+[A-Z]/.test(code)) broken.push(`${file}:${i + 1} new`);
        if (/"/.test(code) && !/\bfrom\s+"|^\s*import\s+"/.test(code)) broken.push(`${file}:${i + 1} string`);
      });
    }
    expect(broken).toEqual([]);
  });
});
