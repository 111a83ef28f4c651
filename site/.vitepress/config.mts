/** docs/ as a site, from the pages as they are: `npm run site`. */

import { readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize, resolve } from 'node:path';
import { slug } from 'github-slugger';
import { defineConfig, type DefaultTheme } from 'vitepress';

const root = resolve(import.meta.dirname, '..', '..');
const docs = join(root, 'docs');
const repository = 'https://github.com/cdk-secure-mlflow/cdk-secure-mlflow';

/** Where a link of a page leads: to another page, or to the file in the repository. */
function target(page: string, href: string): string {
  if (/^([a-z]+:|#)/.test(href)) {
    return href;
  }
  const [path, anchor] = href.split('#');
  const hash = anchor === undefined ? '' : `#${anchor}`;
  const file = normalize(join('docs', dirname(page), path));
  if (file.startsWith('docs/') && file.endsWith('.md')) {
    return path.replace(/README\.md$/, 'index.md') + hash;
  }
  return `${repository}/${statSync(join(root, file)).isDirectory() ? 'tree' : 'blob'}/main/${file}${hash}`;
}

/** What an index lists under each heading. A page that is listed twice stays where it comes first. */
function sidebar(index: string): DefaultTheme.SidebarItem[] {
  const folder = dirname(index);
  const seen = new Set<string>();
  const [title, ...groups] = readFileSync(join(docs, index), 'utf8').split(/^#+ /m).slice(1);
  return (groups.length > 0 ? groups : [title]).map(group => ({
    text: group.split('\n')[0],
    collapsed: true,
    items: Array.from(group.matchAll(/\]\(([\w-]+\.md)/g), ([, file]) => join(folder, file))
      .filter(file => !seen.has(file) && seen.add(file))
      .map(file => ({ text: /^# (.*)/.exec(readFileSync(join(docs, file), 'utf8'))![1].replaceAll('`', ''), link: `/${file}` })),
  })).filter(({ items }) => items.length > 0);
}

export default defineConfig({
  title: 'cdk-secure-mlflow',
  description: 'MLflow tracking server on AWS behind your company sign-in: one CDK construct',
  base: '/cdk-secure-mlflow/', // of GitHub Pages
  srcDir: docs,
  outDir: join(root, '.try', 'site'),
  cacheDir: join(root, '.try', 'site-cache'),
  rewrites: { 'README.md': 'index.md', ':folder/README.md': ':folder/index.md' },
  markdown: {
    anchor: { slugify: slug }, // as GitHub has it
    config: ({ core }) => {
      core.ruler.push('links', ({ tokens, env }) => {
        for (const token of tokens.flatMap(({ children }) => children ?? []).filter(({ type }) => type === 'link_open')) {
          token.attrSet('href', target(env.relativePath, token.attrGet('href')!));
        }
      });
    },
  },
  themeConfig: {
    search: { provider: 'local' },
    sidebar: [...sidebar('README.md'), ...sidebar('decisions/README.md')],
    outline: [2, 3],
    socialLinks: [{ icon: 'github', link: repository }],
  },
  // The pages lie outside of this folder, so what they are compiled to would not find it.
  vite: { resolve: { alias: [{ find: /^vue(\/.*)?$/, replacement: `${join(import.meta.dirname, '..', 'node_modules', 'vue')}$1` }] } },
});
