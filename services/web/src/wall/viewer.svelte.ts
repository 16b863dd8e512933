// Who looks at the wall. The page holds no token: the browser's cookie says it, and the server tells.
import { viewer } from '../api/client';

export class Viewer {
  /** Their account; nothing while nobody is signed in, as far as is known. */
  userId = $state<string | null>(null);

  /** Asks again. */
  async look(): Promise<void> {
    try {
      this.userId = (await viewer()).user_id ?? null;
    } catch {
      // Asked again when the line changes.
    }
  }
}

/** Where one signs in, to come back to what is shown now. */
export function signInPlace(language: string): string {
  const here = location.pathname + location.search;
  return `/ioc/sign-in?${new URLSearchParams({ return_to: here, ui_locales: language })}`;
}
