// Dark or light: the system's preference until the reader chooses. `public/theme.js` applies a stored choice before the first paint.

export type Theme = 'dark' | 'light';

const STORED = 'theme';
const prefersLight = matchMedia('(prefers-color-scheme: light)');

function chosen(): Theme | null {
  const named = document.documentElement.dataset['theme'];
  return named === 'dark' || named === 'light' ? named : null;
}

class Chosen {
  #theme = $state<Theme>(chosen() ?? (prefersLight.matches ? 'light' : 'dark'));

  constructor() {
    prefersLight.addEventListener('change', (event) => {
      if (!chosen()) this.#theme = event.matches ? 'light' : 'dark';
    });
  }

  get now(): Theme {
    return this.#theme;
  }

  turn(): void {
    this.#theme = this.#theme === 'dark' ? 'light' : 'dark';
    document.documentElement.dataset['theme'] = this.#theme;
    try {
      localStorage.setItem(STORED, this.#theme);
    } catch {
      // The choice then lasts as long as the page.
    }
  }
}

export const theme = new Chosen();
