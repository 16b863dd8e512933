// Read by vite-plugin-svelte and svelte-check: every component uses runes and plain TypeScript.
import { vitePreprocess } from '@sveltejs/vite-plugin-svelte';

export default {
  preprocess: vitePreprocess(),
  compilerOptions: { runes: true },
};
