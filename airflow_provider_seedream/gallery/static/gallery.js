// The frame's page follows Airflow's theme, letters and direction, its keys turn pages, and its links to Airflow's pages open there.
const shell = window.parent !== window && window.parent;
const page = document.documentElement;
if (shell) {
  const airflow = shell.document.documentElement;
  const follow = () => {
    page.style.colorScheme = shell.getComputedStyle(airflow).colorScheme;
    page.style.fontFamily = shell.getComputedStyle(shell.document.body).fontFamily;
    page.dir = airflow.dir;
  };
  new MutationObserver(follow).observe(airflow, { attributes: true });
  follow();
  page.classList.add("framed");
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.app");
  if (!link || !shell || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  shell.history.pushState(null, "", link.href);
  shell.dispatchEvent(new PopStateEvent("popstate"));
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  const forward = page.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
  const back = page.dir === "rtl" ? "ArrowRight" : "ArrowLeft";
  const wanted = { [forward]: "a[rel=next]", [back]: "a[rel=prev]", Escape: "a[rel=up]" }[event.key];
  if (wanted) document.querySelector(wanted)?.click();
});
