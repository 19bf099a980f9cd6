;; W-08: a core module instead of a component
;; outcome: refused
;; says: not a component
;; cost: quick

;;@component
(module)
