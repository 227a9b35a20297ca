/** Words of a packetdrill script. The longest match wins, as in any lex scanner; a token knows its line. */

/** What is wrong with a script, or with what it saw: a message and the line of the script. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

export type TokenType =
  | "int"
  | "hex"
  | "float"
  | "word"
  | "string"
  | "command"
  | "code"
  | "option"
  | "ipv4"
  | "ipv6"
  | "..."
  | "char"
  | "end";

export interface Token {
  readonly type: TokenType;
  /** As written; without the quotes for strings, commands and code. */
  readonly text: string;
  /** Numbers only. */
  readonly value: number;
  readonly line: number;
  /** Where it begins in the script: tokens that touch make one set of flags. */
  readonly at: number;
  readonly end: number;
}

const SPACE: RegExp = /[ \t\r\n]+|\/\/[^\n]*|\/\*[^]*?\*\//y;

/** Tried in turn; of two that match, the longer one counts. */
const RULES: readonly (readonly [TokenType, RegExp])[] = [
  ["code", /%\{[^]*?\}%/y],
  ["string", /"(?:\\[^]|[^"\\])*"/y],
  ["command", /`(?:\\[^]|[^`\\])*`/y],
  ["...", /\.\.\./y],
  ["option", /--[a-zA-Z0-9_]+/y],
  ["ipv4", /\d+\.\d+\.\d+\.\d+/y],
  ["ipv6", /(?=[0-9a-fA-F:]*::)[0-9a-fA-F:]+(?:\d+\.\d+\.\d+\.\d+)?/y],
  ["float", /-?\d*\.\d+/y],
  ["int", /-?\d+/y],
  ["hex", /0x[0-9a-fA-F]+/y],
  ["word", /[a-zA-Z0-9_]+/y],
  ["char", /[^]/y],
];

/** SYM=val of -D: a number, a word, or text in quotes or backquotes. */
export type Defines = ReadonlyMap<string, string>;

/** Cuts `text` into tokens, the last of which is of type "end". */
export function lex(text: string, defines: Defines): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let line = 1;
  const skip = (part: string): void => {
    at += part.length;
    for (const c of part) if (c === "\n") line++;
  };
  for (;;) {
    SPACE.lastIndex = at;
    const space = SPACE.exec(text);
    if (space !== null) {
      skip(space[0]);
      continue;
    }
    if (at >= text.length) break;
    let type: TokenType = "char";
    let found = "";
    for (const [t, rule] of RULES) {
      rule.lastIndex = at;
      const m = rule.exec(text);
      if (m !== null && m[0].length > found.length) {
        type = t;
        found = m[0];
      }
    }
    if (found === '"' || found === "`") throw new ScriptError(line, "a quotation without an end");
    const begin = at;
    const firstLine = line;
    skip(found);
    // A command says where it begins; everything else is on one line anyhow.
    tokens.push(token(type, found, firstLine, begin, at, defines));
  }
  tokens.push({ type: "end", text: "", value: 0, line, at, end: at });
  return tokens;
}

function token(type: TokenType, raw: string, line: number, at: number, end: number, defines: Defines): Token {
  let text = raw;
  let value = 0;
  switch (type) {
    case "word": {
      const defined = defines.get(raw);
      if (defined !== undefined) return definedToken(defined, line, at, end);
      break;
    }
    case "string":
    case "command":
      text = raw.slice(1, -1);
      break;
    case "code":
      text = raw.slice(2, -2).replace(/^[ \t]+|[ \t]+$/g, "");
      break;
    case "option":
      text = raw.slice(2);
      break;
    case "int":
    case "hex":
    case "float":
      value = Number(raw);
      break;
    default:
  }
  return { type, text, value, line, at, end };
}

function definedToken(value: string, line: number, at: number, end: number): Token {
  if (value.startsWith('"')) return { type: "string", text: value.slice(1, -1), value: 0, line, at, end };
  if (value.startsWith("`")) return { type: "command", text: value.slice(1, -1), value: 0, line, at, end };
  if (/^-?(?:\d+|0x[0-9a-fA-F]+)$/.test(value))
    return { type: "int", text: value, value: Number(value), line, at, end };
  return { type: "word", text: value, value: 0, line, at, end };
}
