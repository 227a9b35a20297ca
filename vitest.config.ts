import type { ViteUserConfig } from "vitest/config";
import { instrumentPlugin } from "./scripts/instrument.mjs";

const config: ViteUserConfig = {
  plugins: [instrumentPlugin()],
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["./scripts/vitest-setup.mjs"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    pool: "forks",
    maxWorkers: 2,
  },
};

export default config;
