// The page's language: `?lang=` for kiosks, then what the reader chose before, then the browser's, then Vietnamese.

export type Language = 'vi' | 'en';

const STORED = 'language';

function known(tag: string | null): Language | null {
  const primary = tag?.slice(0, 2).toLowerCase();
  return primary === 'vi' || primary === 'en' ? primary : null;
}

function stored(): string | null {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}

function initial(): Language {
  const asked = known(new URLSearchParams(location.search).get('lang')) ?? known(stored());
  if (asked) return asked;
  for (const tag of navigator.languages) {
    const language = known(tag);
    if (language) return language;
  }
  return 'vi';
}

class Chosen {
  #language = $state<Language>(initial());

  constructor() {
    document.documentElement.lang = this.#language;
  }

  get now(): Language {
    return this.#language;
  }

  choose(language: Language): void {
    this.#language = language;
    document.documentElement.lang = language;
    try {
      localStorage.setItem(STORED, language);
    } catch {
      // The choice then lasts as long as the page.
    }
  }
}

export const language = new Chosen();
