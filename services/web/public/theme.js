// Runs before the first paint, so that a chosen theme never flashes. Kept apart because inline scripts are refused.
(function () {
  var chosen = new URLSearchParams(location.search).get('theme');
  try {
    chosen = chosen || localStorage.getItem('theme');
  } catch (_) {
    // Storage can be switched off; the system's theme is used then.
  }
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
})();
