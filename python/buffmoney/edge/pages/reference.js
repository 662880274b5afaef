"use strict";
// Each example gets a button that copies it. Where the clipboard is out of reach, the page is as it was.
if (navigator.clipboard) {
  for (const figure of document.querySelectorAll("figure")) {
    const button = document.createElement("button");
    const said = figure.querySelector("figcaption").textContent.toLowerCase();
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy the ${said}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(figure.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
    figure.append(button);
  }
}
// On a phone the menu closes once something was chosen.
document.querySelector(".menu nav").addEventListener("click", (event) => {
  if (event.target.closest("a")) { document.querySelector(".menu").open = false; }
});
