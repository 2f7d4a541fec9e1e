/* Small helps that the theme does not give. A plain script: it runs from disk too. */
(function () {
  "use strict";

  // From disk a page may not fetch its neighbours, so the search shows titles only.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  }

  // What scrolls sideways must be reachable with the keyboard.
  var scrollable =
    ".bd-article mjx-container, .bd-article .cell_output, .bd-article pre, " +
    ".bd-article .cell_output .output, .pst-scrollable-table-container";
  function reachable() {
    document.querySelectorAll(scrollable).forEach(function (box) {
      if (box.scrollWidth > box.clientWidth + 1) {
        box.setAttribute("tabindex", "0");
        box.dataset.bookTab = "1";
      } else if (box.dataset.bookTab) {
        box.removeAttribute("tabindex");
      }
    });
  }

  function start() {
    // The theme's label for this button hides the words that are seen on it.
    document.querySelectorAll(".search-button-field[aria-label]").forEach(function (b) {
      b.removeAttribute("aria-label");
    });
    reachable();
    window.addEventListener("resize", reachable);
    if (window.MathJax && MathJax.startup && MathJax.startup.promise) {
      MathJax.startup.promise.then(reachable);
    }
  }
  if (document.readyState === "complete") start();
  else window.addEventListener("load", start);
})();
