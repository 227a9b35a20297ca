// What the C preprocessor does for the kernel's #defines: a number that a module imports by name stands in dist/ as the
// number. V8 reads an imported binding (and an exported one of the module itself) through its cell, `const` or not, and has
// to check each time what it finds there; `u32[(skb + SKB_LEN) >>> 2]` costs half as much as `u32[(skb + 104) >>> 2]`, and
// its bytecode, which counts when V8 decides what to inline, is shorter.
//
// Only `export const NAME = <number>` is taken, where the number follows from literals and other such constants. A name
// that anything in the using module binds again is left alone there.
import { posix } from "node:path";
import { parse } from "acorn";
import MagicString from "magic-string";

const UNARY = { "-": (a) => -a, "+": (a) => +a, "~": (a) => ~a };
const BINARY = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "%": (a, b) => a % b,
  "**": (a, b) => a ** b,
  "|": (a, b) => a | b,
  "&": (a, b) => a & b,
  "^": (a, b) => a ^ b,
  "<<": (a, b) => a << b,
  ">>": (a, b) => a >> b,
  ">>>": (a, b) => a >>> b,
};

class Module {
  constructor(file, program) {
    this.file = file;
    this.program = program;
    /** Own top-level constants: name -> initializer. */
    this.own = new Map();
    this.exported = new Set();
    /** Local name -> [file, name] of imports; exported name -> [file, name] of re-exports. */
    this.imports = new Map();
    this.reexports = new Map();
    this.stars = [];
    for (const node of program.body) this.#add(node);
  }

  #add(node) {
    const from = node.source?.value;
    const file = from?.startsWith(".") ? posix.join(posix.dirname(this.file), from) : undefined;
    if (node.type === "ImportDeclaration") {
      if (file === undefined) return;
      for (const s of node.specifiers)
        if (s.type === "ImportSpecifier") this.imports.set(s.local.name, [file, s.imported.name]);
      return;
    }
    if (node.type === "ExportAllDeclaration" && node.exported === null) this.stars.push(file);
    if (node.type !== "ExportNamedDeclaration") {
      this.#constants(node);
      return;
    }
    if (node.declaration !== null) {
      for (const name of this.#constants(node.declaration)) this.exported.add(name);
      return;
    }
    for (const s of node.specifiers) {
      if (file !== undefined) this.reexports.set(s.exported.name, [file, s.local.name]);
      else if (s.local.name === s.exported.name) this.exported.add(s.local.name);
    }
  }

  #constants(node) {
    if (node.type !== "VariableDeclaration" || node.kind !== "const") return [];
    const names = [];
    for (const d of node.declarations) {
      if (d.id.type !== "Identifier" || d.init === null) continue;
      this.own.set(d.id.name, d.init);
      names.push(d.id.name);
    }
    return names;
  }
}

/** Inlines the numeric constants of a set of modules. `files`: path -> code; returns path -> new code, of what changed. */
export function inlineConstants(files) {
  const modules = new Map();
  for (const [file, code] of files)
    modules.set(file, new Module(file, parse(code, { ecmaVersion: "latest", sourceType: "module" })));
  const known = new Map();

  const exportOf = (file, name, depth = 0) => {
    const m = modules.get(file);
    if (m === undefined || depth > 16) return undefined;
    if (m.own.has(name)) return m.exported.has(name) ? ownOf(m, name) : undefined;
    const imported = m.imports.get(name);
    if (imported !== undefined && m.exported.has(name)) return exportOf(...imported, depth + 1);
    const re = m.reexports.get(name);
    if (re !== undefined) return exportOf(...re, depth + 1);
    for (const star of m.stars) {
      const value = exportOf(star, name, depth + 1);
      if (value !== undefined) return value;
    }
    return undefined;
  };
  const ownOf = (m, name) => {
    const key = `${m.file}\0${name}`;
    if (!known.has(key)) {
      known.set(key, undefined);
      known.set(key, evaluate(m, m.own.get(name)));
    }
    return known.get(key);
  };
  const evaluate = (m, node) => {
    let value;
    if (node.type === "Literal" && typeof node.value === "number") value = node.value;
    else if (node.type === "Identifier") {
      const imported = m.imports.get(node.name);
      value = imported !== undefined ? exportOf(...imported) : m.own.has(node.name) ? ownOf(m, node.name) : undefined;
    } else if (node.type === "UnaryExpression" && node.operator in UNARY) {
      const a = evaluate(m, node.argument);
      value = a === undefined ? undefined : UNARY[node.operator](a);
    } else if (node.type === "BinaryExpression" && node.operator in BINARY) {
      const a = evaluate(m, node.left);
      const b = a === undefined ? undefined : evaluate(m, node.right);
      value = b === undefined ? undefined : BINARY[node.operator](a, b);
    }
    return Number.isFinite(value) ? value : undefined;
  };

  const changed = new Map();
  for (const [file, code] of files) {
    const m = modules.get(file);
    const values = new Map();
    for (const [local, source] of m.imports) {
      const value = exportOf(...source);
      if (value !== undefined) values.set(local, value);
    }
    for (const name of m.exported) {
      const value = m.own.has(name) ? ownOf(m, name) : undefined;
      if (value !== undefined) values.set(name, value);
    }
    if (values.size === 0) continue;
    const done = replace(code, m.program, values);
    if (done !== undefined) changed.set(file, done);
  }
  return changed;
}

function replace(code, program, values) {
  const uses = [];
  const rebound = new Set();
  const bind = (pattern) => {
    if (pattern === null) return;
    if (pattern.type === "Identifier") rebound.add(pattern.name);
    else if (pattern.type === "AssignmentPattern") bind(pattern.left);
    else if (pattern.type === "RestElement") bind(pattern.argument);
    else if (pattern.type === "ArrayPattern") for (const e of pattern.elements) bind(e);
    else if (pattern.type === "ObjectPattern")
      for (const p of pattern.properties) bind(p.type === "RestElement" ? p.argument : p.value);
  };
  const visit = (node, parent, key) => {
    switch (node.type) {
      case "Identifier": {
        const name = node.name;
        const isKey =
          (parent.type === "MemberExpression" && key === "property" && !parent.computed) ||
          ((parent.type === "Property" || parent.type === "MethodDefinition" || parent.type === "PropertyDefinition") &&
            key === "key" &&
            !parent.computed) ||
          /^(?:ImportSpecifier|ExportSpecifier|LabeledStatement|BreakStatement|ContinueStatement)$/.test(parent.type);
        if (!isKey && values.has(name)) uses.push([node, parent]);
        return;
      }
      case "VariableDeclarator":
        if (node.id.type === "Identifier") {
          // Top-level constants are what is inlined; their own declaration is no use of them.
          if (!program.body.some((s) => s === parent || s.declaration === parent)) rebound.add(node.id.name);
        } else {
          bind(node.id);
          visit(node.id, node, "id");
        }
        if (node.init !== null) visit(node.init, node, "init");
        return;
      case "FunctionDeclaration":
      case "FunctionExpression":
      case "ArrowFunctionExpression":
        if (node.id != null) rebound.add(node.id.name);
        for (const p of node.params) bind(p);
        break;
      case "ClassDeclaration":
      case "ClassExpression":
        if (node.id !== null) rebound.add(node.id.name);
        break;
      case "CatchClause":
        bind(node.param);
        break;
    }
    for (const k in node) {
      const child = node[k];
      if (Array.isArray(child)) {
        for (const one of child) if (one && typeof one.type === "string") visit(one, node, k);
      } else if (child && typeof child.type === "string") {
        if (node.type === "Property" && node.shorthand && k === "key") continue;
        visit(child, node, k);
      }
    }
  };
  for (const statement of program.body) visit(statement, program, "body");
  const out = new MagicString(code);
  let n = 0;
  for (const [node, parent] of uses) {
    if (rebound.has(node.name)) continue;
    const value = values.get(node.name);
    let text = value < 0 || Object.is(value, -0) || parent.type === "MemberExpression" ? `(${value})` : String(value);
    if (parent.type === "Property" && parent.shorthand) text = `${node.name}: ${text}`;
    out.update(node.start, node.end, text);
    n++;
  }
  return n === 0 ? undefined : out.toString();
}
