// Two pages, one build. The program embeds `dist`; nothing is ever loaded from elsewhere.
// In development, `npm run dev` serves the pages and asks a running city for the data.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, loadEnv } from 'vite';

export default defineConfig(({ mode }) => {
  const city = loadEnv(mode, '.', 'TRANGTIEN_')['TRANGTIEN_URL'] ?? 'http://localhost:8080';
  const proxy = Object.fromEntries(
    ['/ioc/v1', '/reports/v1', '/cap/v1', '/readyz', '/openapi.json', '/docs'].map((path) => [path, { target: city, changeOrigin: true }]),
  );
  return {
    plugins: [svelte()],
    server: { proxy },
    build: {
      target: 'es2022',
      // Files, never data: URLs, so that the content security policy can stay at 'self'.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      rollupOptions: { input: { index: 'index.html', ioc: 'ioc.html' } },
    },
  };
});
