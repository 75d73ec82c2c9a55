"""Every table and figure of the paper as an item: ``dode reproduce table1``.  This file loads nothing."""

ABOUT = {
    "table1": "formulations: DDIM, D-DDIM, -2, -Sep, -All",
    "table2a": "the scale C of the teacher: 5, 10, 20, 30",
    "table2b": "the batch |B| of the fit: 5, 10, 50, 100",
    "table3": "D-DDIM beside constants: Fixed-D-DDIM, LA-DDIM",
    "fig1": "change of the state's norm along a run, by formulation",
    "fig2a": "quality over evaluations beside network distillation",
    "fig2b": "grid search over the constant of LA-DDIM",
    "fig2c": "grid search over the constant of Fixed-D-DDIM",
    "fig3": "DPM-Solver++ beside its distilled form",
    "fig4": "DDIM, iPNDM, DPM-Solver, DEIS from 2 to 250 evaluations",
    "fig5": "update path of two pixels, against DDIM with 1000 steps",
    "fig6": "pictures: EDM above D-EDM",
    "fig7": "pictures without a label: DPM-Solver-3 and DEIS-3 above their distilled forms",
    "fig8": "the same with a label for each picture",
    "fig9": "the same with one label for all, fitted on 25 samples",
    "section2": "noise and data prediction: correlation, error and variance of what networks return",
    "section4": "sections 4.3 and 5: the λ of a run, momentum, exposure bias",
    "trilemma": "quality, diversity and time",
}
NAMES = tuple(ABOUT)
