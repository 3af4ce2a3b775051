// Run by Gradio as a function with element, props, trigger and watch. The one global is what Gradio's own events ask.
const bridge = window.medsamPlanner = {
  steps: 0,
  isShowing: false,
  nextStep() { this.steps += 1; return this.steps; },
  lastStep() { return this.steps; },
  shows() { return this.isShowing; },
  goTo() {},  // the viewer's, once it is there
};
// Gradio finds the names of the page's own events in this text.
const send = {
  action: (values) => trigger('viewer_action', values),
  restore: () => trigger('restore_work', {}),
  choose: (values) => trigger('choose_trajectory', values),
  review: (values) => trigger('review_action', values),
  reviewLong: (values) => trigger('review_long', values),
  moved: () => trigger('live_moved', {}),
};
import(new URL('$ADDRESS', document.baseURI).href)
  .then((viewer) => viewer.start({ root: element, props, send, watch, bridge }))
  .catch((problem) => {
    console.error(problem);
    element.querySelector('[data-text="cursor"]').textContent = 'The viewer could not be loaded. Reload the page.';
  });
