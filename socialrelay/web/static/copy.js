// A button beside each text that is meant to be copied.
(() => {
  "use strict";

  if (!navigator.clipboard) return;
  for (const text of document.querySelectorAll("pre > code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy plain little";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch (error) {
        getSelection().selectAllChildren(text);
        button.textContent = "Press Ctrl+C";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    const box = document.createElement("div");
    box.className = "copied";
    text.parentElement.before(box);
    box.append(text.parentElement, button);
  }
})();
