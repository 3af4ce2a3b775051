// Run by Gradio as a function with element, props, trigger and watch, in whose text it finds the names of the events.
const send = (values) => trigger('structure_action', { ...values, step: window.medsamPlanner?.nextStep() });
import(new URL('$ADDRESS', document.baseURI).href)
  .then((list) => list.start({ root: element, props, send, watch, goTo: (index) => window.medsamPlanner?.goTo(index) }))
  .catch((problem) => console.error(problem));
