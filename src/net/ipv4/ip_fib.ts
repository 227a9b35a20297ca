/** struct fib_result, apart from the code that fills it: others make theirs when they load. */

import type { FibInfo, FibNh } from "./fib_semantics.ts";
import type { FibTable, TrieNode } from "./fib_trie.ts";

/** struct fib_result: preallocate it; a lookup fills it in. */
export class FibResult {
  prefix = 0;
  prefixlen = 0;
  nhSel = 0;
  type = 0;
  scope = 0;
  tos = 0;
  nhc: FibNh | null = null;
  fi: FibInfo | null = null;
  table: FibTable | null = null;
  leaf: TrieNode | null = null;
}
