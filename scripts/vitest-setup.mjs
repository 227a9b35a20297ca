// Runs once before the tests: `npx vitest` straight from an edited tree must see the current assembly code.
import { buildWasm } from "./build.mjs";

export default function setup() {
  buildWasm();
}
