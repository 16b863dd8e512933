// An operator at the wall's own way in: the hosted pages, by what a person reads and types.
import { newPhone } from './city.js';

/** What the pages say, by language. */
export const WORDS = {
  en: { phone: 'Telephone number', send: 'Send the code', code: 'Code of 6 digits', enter: 'Sign in', again: 'Sign in again', signIn: 'Sign in', signOut: 'Sign out' },
  vi: { phone: 'Số điện thoại', send: 'Gửi mã', code: 'Mã 6 chữ số', enter: 'Đăng nhập', again: 'Đăng nhập lại', signIn: 'Đăng nhập', signOut: 'Đăng xuất' },
};

/** Types a number and the code that comes to it into the hosted pages, which are open. */
export async function typeNumberAndCode(page, city, phone, words = WORDS.en) {
  await page.getByLabel(words.phone).fill(phone);
  await page.getByRole('button', { name: words.send }).click();
  await page.getByLabel(words.code).fill(await city.codeFor(phone));
  await page.getByRole('button', { name: words.enter, exact: true }).click();
}

/** Makes who has just signed in, and was told their account, an operator. */
export async function makeOperator(page, city, role = 'ioc.operator') {
  const account = await page.locator('main code').first().innerText();
  await city.grantRole(account, role);
}

/** Signs a new operator in at the wall; the browser of the page keeps it. */
export async function enterAsOperator(page, city) {
  await page.goto(`${city.url}/ioc/sign-in?ui_locales=en`);
  await typeNumberAndCode(page, city, newPhone());
  await makeOperator(page, city);
  await page.getByRole('link', { name: WORDS.en.again }).click();
  await page.locator('[data-badge="live"]').waitFor();
}
