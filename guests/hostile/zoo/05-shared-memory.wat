;; W-05: a memory that threads could share
;; outcome: refused
;; says: not valid
;; cost: quick

;;@component
(component (core module (memory 1 1 shared)))
