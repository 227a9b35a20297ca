// What gcc -pg does for ftrace: every top-level function of the traced folders gets a hook at its entry. It is put
// there at build time, in dist/ and (by the vitest plugin) in the modules under test, so the sources carry no clutter:
//
//   export function ipOutput(net, sk, skb) { if (__skbuffTrace !== null && __fie(7, net, sk, skb)) return __fiv;
//     <the body>
//
// `__skbuffTrace` is a global that src/kernel/ftrace.ts defines, null while the tracer is off: V8 compiles a global that
// never changed as a constant, so that until the first trace a hook is no machine code. While the tracer is on,
// `__fie` has it record the call and make it again, with the result in
// `__fiv`, and that time `__fie` lets it through to the body. `__fi` knows the names and lines. All three are hoisted
// declarations at the end of the module; they run only while tracing, so nothing happens at load and import cycles stay
// what they were. The form is as short as it is because V8 counts bytecode, also that which never runs, when it decides
// what to inline.
//
// Which functions: every top-level `function name() {}` that is no async or generator function, except
//  - those whose body is short and without calls (field accessors and other leaves that a C compiler would inline), unless
//    `/* trace */` stands in the comment before the function;
//  - all those of our counterparts of headers (tcp_h.ts, ip.ts), which are inline functions in the kernel, unless
//    `/* trace */` says otherwise;
//  - those with `/* notrace */` in the comment before them;
//  - all those of a file that has the comment `/* notrace file */`.
import { readFileSync } from "node:fs";
import { dirname, posix, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "acorn";
import MagicString from "magic-string";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const TRACER = "src/kernel/ftrace";
const TRACED = /^src\/(?:net|drivers)\/.*\.ts$/;
const NOT_TRACED = /\.d\.ts$|\.wasm\.ts$/;
/** Our counterparts of headers: what is in them is inline in the kernel, and ftrace sees none of it. */
const HEADER = /(?:_h|\/(?:ip|seq|flow|inet_sock|tcp_sock))\.ts$/;
/** The longest one-statement body that counts as an accessor, in characters without the indentation. */
const ACCESSOR_LENGTH = 100;
/** The longest body of a function that calls nobody and would be inlined by any C compiler. */
const LEAF_LENGTH = 200;
/** Calls that don't make an accessor a function worth tracing. */
const PLAIN_CALL = /^(?:[gs]et(?:Uint|Int|Float|BigInt|BigUint)\d+|Math\.\w+|String|Number|Boolean)$/;

export function shouldInstrument(file) {
  return TRACED.test(file) && !NOT_TRACED.test(file);
}

/** name -> { line, mark } of the top-level functions of a TypeScript source. */
function marksOf(source) {
  const marks = new Map();
  const lines = source.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const match = /^(?:export\s+)?function\s+([\w$]+)/.exec(lines[i]);
    if (!match) continue;
    let mark = "";
    let j = i - 1;
    // The comment before it: line comments, or a block that ends on the line above.
    while (j >= 0 && /^\s*(?:\/\/|\/\*|\*)/.test(lines[j])) {
      const found = /\/\*\s*(notrace|trace)\s*\*\/|\/\/\s*(notrace|trace)\s*$/.exec(lines[j]);
      if (found) mark ||= found[1] ?? found[2];
      j--;
    }
    marks.set(match[1], { line: i + 1, mark: mark || (marks.get(match[1])?.mark ?? "") });
  }
  return marks;
}

/** Calls `visit(node)` for the node and everything below it; a visit that returns false is not descended into. */
function walk(node, visit) {
  if (visit(node) === false) return;
  for (const key in node) {
    const child = node[key];
    if (Array.isArray(child)) {
      for (const one of child) if (one && typeof one.type === "string") walk(one, visit);
    } else if (child && typeof child.type === "string") walk(child, visit);
  }
}

function isAccessor(body, code, leafLength) {
  if (body.length === 0) return true;
  const text = code.slice(body[0].start, body.at(-1).end).replace(/\s+/g, " ");
  const [{ type }] = body;
  const simple = body.length === 1 && (type === "ReturnStatement" || type === "ExpressionStatement");
  if (text.length >= (simple ? ACCESSOR_LENGTH : leafLength)) return false;
  let calls = false;
  walk({ type: "BlockStatement", body }, (node) => {
    if (node.type === "NewExpression") calls = true;
    if (node.type !== "CallExpression") return;
    const { callee } = node;
    const name =
      callee.type === "Identifier"
        ? callee.name
        : callee.type === "MemberExpression" && callee.object.name === "Math"
          ? `Math.${callee.property.name}`
          : callee.type === "MemberExpression"
            ? callee.property.name
            : "";
    if (!PLAIN_CALL.test(name ?? "")) calls = true;
  });
  return !calls;
}

/** Whether the function's own scope binds its name again, so that it can't refer to itself. */
function rebindsName(fn) {
  const { name } = fn.id;
  let found = false;
  const inPattern = (pattern) =>
    walk(pattern, (node) => void (node.type === "Identifier" && node.name === name && (found = true)));
  for (const param of fn.params) inPattern(param.type === "AssignmentPattern" ? param.left : param);
  walk(fn.body, (node) => {
    if (node.type === "VariableDeclarator") inPattern(node.id);
    if (/Function|Class/.test(node.type)) {
      if (node.type === "FunctionDeclaration" && node.id.name === name) found = true;
      return false;
    }
    return undefined;
  });
  return found;
}

/** Whether the function itself (not one inside it) uses `this`, or `arguments`. */
function uses(fn, what) {
  let found = false;
  walk(fn.body, (node) => {
    if (what === "this" ? node.type === "ThisExpression" : node.type === "Identifier" && node.name === what)
      found = true;
    return !/^(?:FunctionDeclaration|FunctionExpression|ClassDeclaration|ClassExpression)$/.test(node.type);
  });
  return found;
}

function parametersOf(fn) {
  const names = [];
  const values = [];
  for (const param of fn.params) {
    const target = param.type === "AssignmentPattern" ? param.left : param;
    const rest = target.type === "RestElement";
    const bound = rest ? target.argument : target;
    // A destructured parameter has no name to pass on: all of them are taken from `arguments` then.
    if (bound.type !== "Identifier") return { names: fn.params.map((_, i) => `arg${i}`), values: "...arguments" };
    names.push(bound.name);
    values.push(rest ? `...${bound.name}` : bound.name);
  }
  return { names, values: uses(fn, "arguments") ? "...arguments" : values.join(", ") };
}

export function instrument(code, file, { original = code, extension = ".ts", leafLength = LEAF_LENGTH } = {}) {
  if (/\/\*\s*notrace file\s*\*\//.test(original)) return undefined;
  const program = parse(code, { ecmaVersion: "latest", sourceType: "module" });
  const marks = marksOf(original);
  const inSrc = file.replace(/^src\//, "");
  const out = new MagicString(code);
  const traced = [];
  const infos = [];
  for (const statement of program.body) {
    const fn = statement.type === "ExportNamedDeclaration" ? statement.declaration : statement;
    if (fn?.type !== "FunctionDeclaration" || fn.async || fn.generator) continue;
    const { name } = fn.id;
    const { mark, line } = marks.get(name) ?? { mark: "", line: 0 };
    const hidden = HEADER.test(file) || isAccessor(fn.body.body, code, leafLength);
    if (mark === "notrace" || (mark !== "trace" && hidden) || rebindsName(fn)) continue;
    const { names, values } = parametersOf(fn);
    const call = uses(fn, "this") ? `__fie.call(this, ${traced.length}` : `__fie(${traced.length}`;
    // On the line of the brace: every line keeps its number.
    out.appendRight(
      fn.body.start + 1,
      ` if (__skbuffTrace !== null && ${call}${values && ", "}${values})) return __fiv;`,
    );
    infos.push(JSON.stringify([name, inSrc, line, names.join(",")]));
    traced.push(name);
  }
  if (traced.length === 0) return undefined;
  let tracer = posix.relative(posix.dirname(file), TRACER) + extension;
  if (!tracer.startsWith(".")) tracer = `./${tracer}`;
  out.prepend(`import ${JSON.stringify(tracer)}; `);
  out.appendLeft(
    program.body.at(-1).end,
    ` function __fi(i) { return [${infos.join(", ")}][i]; }` +
      ` function __fie(i, ...args) { const fn = [${traced.join(", ")}][i];` +
      " if (!__skbuffTrace(fn)) return false; __fiv = __skbuffTrace(fn, args, __fi, i, this); return true; } var __fiv;",
  );
  return { code: out.toString(), map: out.generateMap({ source: file, hires: true }), traced };
}

export function instrumentPlugin() {
  return {
    name: "skbuff:instrument",
    enforce: "post",
    transform(code, id) {
      const path = id.replace(/[?#].*$/, "");
      const file = relative(root, path).split(sep).join("/");
      if (!shouldInstrument(file)) return null;
      const done = instrument(code, file, { original: readFileSync(path, "utf8") });
      return done ? { code: done.code, map: done.map } : null;
    },
  };
}
