// What a page for people owes those who can't see it or use no mouse.
import assert from 'node:assert/strict';

export async function isAccessible(page, language) {
  assert.equal(await page.locator('html').getAttribute('lang'), language);
  assert.equal(await page.getByRole('main').count(), 1, 'one main landmark');
  assert.equal(await page.getByRole('heading', { level: 1 }).count(), 1, 'one heading');
  assert.ok((await page.title()).length > 'Tràng Tiền'.length + 3, await page.title());
  assert.equal(await page.locator('script').count(), 0, 'no script');
  const tree = await (await page.context().newCDPSession(page)).send('Accessibility.getFullAXTree');
  const shown = tree.nodes.filter((node) => !node.ignored && ['textbox', 'button', 'link'].includes(node.role?.value));
  assert.ok(shown.length > 0, 'something to do');
  for (const node of shown) assert.ok(node.name?.value, `a ${node.role.value} without a name`);
}
