// Films: all screens of one show their pictures of one sprite together. A film plays once it is seen, rests on its end, and begins again;
// the one that opens the page begins with its end. Where less motion is wished for it stands there until somebody presses Play.
{
  const running = new WeakMap();
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  const draw = (film, state) => {
    const { width, height } = state.screens[0];
    state.screens.forEach((screen, k) => {
      const tile = k * state.labels.length + state.at;
      const left = (tile % state.across) * width, top = Math.floor(tile / state.across) * height;
      screen.getContext("2d").drawImage(state.sprite, left, top, width, height, 0, 0, width, height);
    });
    const slider = film.querySelector("input");
    slider.value = state.at;
    slider.setAttribute("aria-valuetext", state.labels[state.at]);
    film.querySelector(".film-at").textContent = state.labels[state.at];
    film.dataset.at = state.at;
  };
  const go = (film, state, playing) => {
    const last = state.labels.length - 1;
    state.playing = playing;
    state.due = performance.now() + 1000 / state.fps;
    film.querySelector(".film-play").textContent = playing ? "Pause" : "Play";
    if (playing && state.at === last) { state.at = 0; }
    draw(film, state);
  };
  const begin = (film) => {
    const { film: name, sprite, across, fps, rest, labels } = film.dataset;
    const state = { name, sprite: new Image(), screens: [...film.querySelectorAll("canvas")], labels: JSON.parse(labels) };
    Object.assign(state, { across: Number(across), fps: Number(fps), rest: Number(rest), at: 0, playing: false, ready: false });
    running.set(film, state);
    delete film.dataset.at;
    state.sprite.addEventListener("load", () => {
      if (running.get(film) !== state) { return; }
      const asked = "asked" in film.dataset;
      Object.assign(state, { ready: true, at: asked ? 0 : state.labels.length - 1, playing: asked || !still.matches, due: performance.now() + 1000 });
      film.querySelector(".film-play").textContent = state.playing ? "Pause" : "Play";
      draw(film, state);
      if (asked) { film.scrollIntoView({ block: "nearest" }); }
    });
    state.sprite.src = sprite;
  };
  const step = (film, state) => {
    const now = performance.now(), last = state.labels.length - 1;
    if (!state.playing || now < state.due) { return; }
    state.at = state.at === last ? 0 : state.at + 1;
    state.due = Math.max(state.due + 1000 / state.fps, now) + (state.at === last ? 1000 * state.rest : 0);
    draw(film, state);
  };
  setInterval(() => {
    for (const film of document.querySelectorAll(".film")) {
      const state = running.get(film);
      if (!film.offsetParent) { continue; }
      if (!state || state.name !== film.dataset.film || !film.contains(state.screens[0])) { begin(film); }  // gradio may use an element again
      else if (state.ready) { step(film, state); }
    }
  }, 40);

  document.addEventListener("input", (event) => {
    const film = event.target.closest(".film"), state = film && running.get(film);
    if (!state?.ready) { return; }
    state.at = Number(event.target.value);
    state.playing = false;
    film.querySelector(".film-play").textContent = "Play";
    draw(film, state);
  });
  document.addEventListener("click", (event) => {
    const film = event.target.closest(".film-play")?.closest(".film"), state = film && running.get(film);
    if (state?.ready) { go(film, state, !state.playing); }
    const wanted = event.target.closest(".film [data-tab]")?.dataset.tab;
    if (wanted) { document.querySelector(`[role=tab][data-tab-id=${wanted}]`)?.click(); }  // in whichever language its name is
  });
}
